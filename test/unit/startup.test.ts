import { describe, expect, it } from "vitest";
import { Startup } from "../../src/daemon/startup.ts";
import { systemError } from "../../src/daemon/system-error.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { keptLog } from "../support/log-lines.ts";
import { loggedEvents } from "../support/recorded-events.ts";

const full = () => new MailreportError("store.full", { detail: "queue.db" });
const busy = () => new MailreportError("store.busy");

function startup() {
  const clock = new FakeClock();
  const { log, lines } = keptLog();
  const problems: (string | null)[] = [];
  const made = new Startup({
    clock,
    events: loggedEvents(log, clock),
    onProblem: (problem) => problems.push(problem?.code ?? null),
  });
  const events = () => lines.map(({ event, fields }) => `${event} ${String(fields.code ?? "")}`.trim());
  return { clock, made, problems, events };
}

describe("the steps of a start", () => {
  it("a full disk at start ended the daemon: the step is tried after 1, 2, 4 … 30 seconds, the next ones follow", async () => {
    const { clock, made, problems, events } = startup();
    const tries: number[] = [];
    let space = false;
    const done: string[] = [];
    const running = made.run([
      () => void done.push("first"),
      () => {
        tries.push(clock.monotonic() / 1000);
        if (!space) throw full();
        done.push("second");
      },
      async () => void done.push("third"),
    ]);
    await made.waiting;
    expect(made.problem?.code).toBe("store.full");
    await clock.advance(100_000);
    expect(tries).toEqual([0, 1, 3, 7, 15, 31, 61, 91]);
    space = true;
    await clock.advance(30_000);
    expect(await running).toBe(true);
    expect(done).toEqual(["first", "second", "third"]);
    expect(made.problem).toBeNull();
    expect(problems).toEqual(["store.full", null]);
    expect(events()).toEqual(["store.problem store.full", "store.available"]);
    expect(clock.pendingTimers).toBe(0);
  });

  it("logs each change of the reason once", async () => {
    const { clock, made, problems, events } = startup();
    const faults = [full(), full(), busy(), busy(), full()];
    const running = made.run([
      () => {
        const fault = faults.shift();
        if (fault) throw fault;
      },
    ]);
    await clock.advance(200_000);
    expect(await running).toBe(true);
    expect(problems).toEqual(["store.full", "store.busy", "store.full", null]);
    expect(events()).toHaveLength(4);
  });

  it("what does not pass by itself ends the start, also after waiting", async () => {
    for (const code of ["store.corrupt", "store.newer_schema", "daemon.already_running"] as const) {
      const { clock, made } = startup();
      const faults = [full(), new MailreportError(code)];
      const running = made.run([
        () => {
          throw faults.shift()!;
        },
      ]);
      const result = expect(running).rejects.toMatchObject({ code });
      await clock.advance(1000);
      await result;
      expect(clock.pendingTimers).toBe(0);
    }
  });

  it("stopping while it waits ends at once, and no further step begins", async () => {
    const { clock, made } = startup();
    let tries = 0;
    const running = made.run([
      () => {
        tries++;
        throw full();
      },
    ]);
    await made.waiting;
    made.stop();
    expect(await running).toBe(false);
    await clock.advance(60_000);
    await settle();
    expect(tries).toBe(1);
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("errors of the operating system", () => {
  const errno = (code: string) => Object.assign(new Error(`${code}: x`), { code, syscall: "open" });
  it("were a stack trace: they have a code of the catalogue", () => {
    const codeOf = (error: unknown) => (systemError(error) as MailreportError).code;
    expect(codeOf(errno("ENOSPC"))).toBe("store.full");
    expect(codeOf(errno("EDQUOT"))).toBe("store.full");
    expect(codeOf(errno("EACCES"))).toBe("daemon.no_permission");
    expect(codeOf(errno("EROFS"))).toBe("daemon.state_unusable");
    const inside = (cause: unknown) => new MailreportError("daemon.state_unusable", { detail: "d", cause });
    expect(codeOf(inside(errno("ENOSPC")))).toBe("store.full");
    expect(codeOf(inside(errno("ENOTDIR")))).toBe("daemon.state_unusable");
    expect(codeOf(inside(Object.assign(new Error("x"), { code: "SQLITE_FULL" })))).toBe("store.full");
    expect(codeOf(inside(Object.assign(new Error("x"), { code: "SQLITE_IOERR_WRITE" })))).toBe("store.io");
    expect(codeOf(new MailreportError("store.corrupt", { cause: errno("ENOSPC") }))).toBe("store.corrupt");
    const bug = new TypeError("bug");
    expect(systemError(bug)).toBe(bug);
  });
});
