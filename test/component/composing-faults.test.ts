/** Faults in composing: each settles its report, and the next one is composed. */
import { randomBytes } from "node:crypto";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { HOUR, ReportRun } from "../support/report-run.ts";

let run: ReportRun;
beforeEach(() => {
  run = new ReportRun();
});
afterEach(() => run.end());

const full = (): never => {
  throw new MailreportError("store.full", { detail: "queue" });
};
const failed = () => run.lines.filter(({ event }) => event === "unit.failed");

describe("one poisonous report blocked all composing", () => {
  const faults = {
    "an exception": () => {
      throw new TypeError("undefined is not a function");
    },
    "a rejected promise": () => Promise.reject(new RangeError("too deep")),
    "an error of the catalogue": () => {
      throw new MailreportError("compose.readback_differs", { detail: "count" });
    },
    "a dead thread": () => Promise.reject(new MailreportError("compose.died", { detail: "exit 1" })),
  } satisfies Record<string, () => void | Promise<void>>;

  it.each(Object.entries(faults))("%s sets it aside with its error, the others go on", async (_, fault) => {
    run.beforeComposing = (job) => (job.policyDomain === "one.example" ? fault() : undefined);
    run.feed(run.about("one.example", { count: 3 }), run.about("two.example"), run.about("three.example"));
    await run.pass(25);
    expect(run.states()).toEqual({
      "one.example": "open",
      "two.example": "composed",
      "three.example": "composed",
    });
    const report = run.of("one.example");
    expect(report).toMatchObject({ failures: expect.any(Number), messages: 3, rows: 1 });
    expect(report.failures).toBeGreaterThan(0);
    expect(report.lastError).not.toBeNull();
    const { checks } = await run.requests.explain("d!one.example");
    expect(checks.find((each) => each.check === "composing")).toMatchObject({ ok: false });

    run.beforeComposing = () => {};
    await run.pass(10);
    expect(run.states()["one.example"]).toBe("composed");
    expect(run.countIn(run.of("one.example").messageIds[0]!)).toBe(3);
  });

  it("a bug is logged once a try, with its stack; an expected error without", async () => {
    run.beforeComposing = faults["an exception"];
    run.feed(run.about("one.example"));
    await run.pass(25);
    expect(failed().length).toBe(run.of("one.example").failures);
    expect(failed()[0]!.fields).toMatchObject({ code: "daemon.bug", id: run.of("one.example").id });
    expect(String(failed()[0]!.fields.stack)).toContain("composing-faults.test");
  });

  it("it is tried again with growing waits", async () => {
    run.beforeComposing = faults["an exception"];
    run.feed(run.about("one.example"));
    await run.clock.advance(run.of("one.example").due * 1000 - run.clock.now());
    await run.scheduler.idle();
    const waits: number[] = [];
    for (let i = 0; i < 4; i++) {
      const before = run.of("one.example");
      await run.clock.advance(before.due * 1000 - run.clock.now());
      await run.scheduler.idle();
      const after = run.of("one.example");
      expect(after.failures).toBe(before.failures + 1);
      waits.push(after.due - before.due);
    }
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
    expect(waits.at(-1)).toBeGreaterThan(waits[0]!);
  });
});

describe("a store that fails for now", () => {
  it("a full disk in the commit put all composing off: the others are composed, and this one later", async () => {
    run.faults.compose = (id, ...rest) => (id.startsWith("d!one.") ? full() : run.store.compose(id, ...rest));
    run.feed(run.about("one.example"), run.about("two.example"));
    await run.pass(28);
    expect(run.states()).toEqual({ "one.example": "open", "two.example": "composed" });
    expect(run.of("one.example")).toMatchObject({ failures: 0 });
    run.faults = {};
    await run.pass(2);
    expect(run.states()["one.example"]).toBe("composed");
  });

  it("a disk that is full for everything does not make the scheduler spin", async () => {
    const domains = ["one", "two", "three", "four", "five", "six"].map((name) => `${name}.example`);
    run.feed(...domains.map((domain) => run.about(domain)));
    let writes = 0;
    const refuse = (): never => {
      writes++;
      return full();
    };
    run.faults = { closeOutgoing: refuse, failOutgoing: refuse, deferOutgoing: refuse, dropOutgoing: refuse };
    await run.pass(28);
    const first = writes;
    await run.clock.advance(HOUR);
    await run.scheduler.idle();
    expect(writes - first).toBeLessThan(200);
    expect(run.jobs).toEqual([]);
    expect(new Set(Object.values(run.states()))).toEqual(new Set(["open"]));
    run.faults = {};
    await run.pass(2);
    expect(new Set(Object.values(run.states()))).toEqual(new Set(["composed"]));
  });

  it("after three reports in a row that a full disk refused, a run ends; the next one is a minute later", async () => {
    run.feed(...["one", "two", "three", "four", "five", "six"].map((name) => run.about(`${name}.example`)));
    const tried: string[] = [];
    run.faults.closeOutgoing = (id) => {
      tried.push(id);
      return full();
    };
    run.clock.jump(30 * HOUR);
    run.scheduler.wake();
    await run.clock.advance(1000);
    await run.scheduler.idle();
    expect(tried).toHaveLength(3);
    await run.clock.advance(59_000);
    await run.scheduler.idle();
    await run.clock.advance(1000);
    await run.scheduler.idle();
    expect(new Set(tried.slice(0, 6)).size).toBe(6);
  });

  it("a lock held by another process delays a report, it is not lost", async () => {
    run.feed(run.about("one.example", { count: 4 }));
    const other = new Database(run.path, { timeout: 0 });
    other.exec("BEGIN IMMEDIATE");
    await run.pass(27);
    expect(run.of("one.example")).toMatchObject({ state: "open", closed: false, failures: 0 });
    other.exec("ROLLBACK");
    other.close();
    await run.pass(2);
    expect(run.countIn(run.of("one.example").messageIds[0]!)).toBe(4);
  });

  it("an error that cannot be noted either lets the report rest in memory", async () => {
    run.beforeComposing = (job) => {
      if (job.policyDomain === "one.example") throw new TypeError("bug");
    };
    run.faults.failOutgoing = full;
    run.feed(run.about("one.example"), run.about("two.example"));
    await run.pass(27);
    expect(run.states()).toEqual({ "one.example": "open", "two.example": "composed" });
    expect(run.jobs.filter((domain) => domain === "one.example").length).toBeLessThan(20);
    run.beforeComposing = () => {};
    await run.pass(3);
    expect(run.states()["one.example"]).toBe("composed");
  });
});

describe("a report that had rested made the timer fire without a pause for two hours", () => {
  const ways: readonly (readonly [string, () => unknown])[] = [
    ["cancelled", () => run.requests.cancel("d!one.example")],
    ["sent by an operator", () => run.requests.send("d!one.example")],
    ["held", () => run.requests.hold("d!one.example", true)],
    ["scheduled", () => run.requests.schedule("d!one.example", run.of("one.example").due + 864_000)],
    [
      "deferred by another error",
      () => {
        run.beforeComposing = () => {
          throw new TypeError("bug");
        };
      },
    ],
  ];

  it.each(ways)("when it is %s", async (_, leave) => {
    run.feed(run.about("one.example"));
    run.faults.closeOutgoing = full;
    run.clock.jump(30 * HOUR);
    run.scheduler.wake();
    await run.clock.advance(1000);
    await run.scheduler.idle();
    expect(run.lines.filter(({ event }) => event === "outgoing.deferred")).toHaveLength(1);
    run.faults = {};
    await leave();
    let asked = 0;
    run.faults.dueOutgoing = (...selection) => {
      // a timer that fires for ever is ended, so that the test fails instead of hanging
      if (++asked > 100) run.faults.nextOutgoingDue = () => Number.MAX_SAFE_INTEGER / 1000;
      if (asked > 100) throw new Error("the timer fires without a pause");
      return run.store.dueOutgoing(...selection);
    };
    await run.clock.advance(5 * 60_000);
    expect(asked).toBeLessThan(10);
  });
});

describe("a report of many large messages", () => {
  const slices = () =>
    run.beside((database) => database.prepare("SELECT count(*) FROM raw_slice").pluck().get()) as number;
  /** Some 200 KB of message for each of ten addresses: each is small, together they are not. */
  const feedLarge = () => {
    const addresses = Array.from({ length: 10 }, (_, i) => `mailto:r${i}@one.example`);
    run.resolver = zoneResolver(
      parseZone(`_dmarc.one.example TXT "v=DMARC1; p=none; rua=${addresses.join(",")}"`),
    );
    const label = () => randomBytes(30).toString("hex");
    for (let n = 0; n < 3000; n += 500)
      run.feed(
        ...Array.from({ length: 500 }, () =>
          run.about("one.example", { row: { headerFrom: `${label()}.one.example` } }),
        ),
      );
  };

  it("stored all of them in one commit: what is above 1 MiB together is stored before", async () => {
    feedLarge();
    const committed: number[] = [];
    run.faults.compose = (id, messages, ...rest) => {
      committed.push(messages.reduce((sum, { raw }) => sum + (raw?.byteLength ?? 0), 0));
      run.store.compose(id, messages, ...rest);
    };
    await run.requests.send("d!one.example");
    const { messageIds } = run.of("one.example");
    expect(messageIds).toHaveLength(10);
    expect(committed[0]).toBeGreaterThan(0);
    expect(committed[0]).toBeLessThanOrEqual(1 << 20);
    for (const id of messageIds) expect(run.countIn(id)).toBe(3000);
  });

  it.each(["compose", "stageRaw"] as const)(
    "that failed in %s left its parts in the database until the next start",
    async (method) => {
      feedLarge();
      let calls = 0;
      run.faults[method] = (...given: never[]): never => {
        if (method === "compose" || ++calls > 3) return full();
        return (run.store[method] as (...all: never[]) => never)(...given);
      };
      await expect(run.requests.send("d!one.example")).rejects.toMatchObject({
        code: "store.full",
      });
      expect(slices()).toBe(0);
      expect(run.of("one.example").state).toBe("open");
    },
  );

  it("whose parts cannot be deleted at once is cleaned up when the disk has room again", async () => {
    await run.scheduler.idle();
    feedLarge();
    run.faults = { compose: full, unstageRaw: full, dropStagedRaw: full };
    await expect(run.requests.send("d!one.example")).rejects.toMatchObject({ code: "store.full" });
    expect(slices()).toBeGreaterThan(0);
    run.faults = {};
    await run.pass(0.25);
    expect(slices()).toBe(0);
  });
});

describe("what stands around a composition", () => {
  it("a listener that throws ended the loop: the report is composed, the next one runs", async () => {
    run.onComposed = () => {
      throw new Error("nobody listens");
    };
    run.feed(run.about("one.example"), run.about("two.example"));
    await run.pass(27);
    expect(run.states()).toEqual({ "one.example": "composed", "two.example": "composed" });
  });

  const broken: readonly (readonly [string, () => Promise<never>])[] = [
    [
      "throws",
      () => {
        throw new TypeError("resolver");
      },
    ],
    ["rejects", () => Promise.reject(new TypeError("resolver"))],
  ];
  it.each(broken)("a resolver that %s lost the report: it is deferred", async (_, txt) => {
    const { resolver } = run;
    run.resolver = {
      ...resolver,
      txt: (name: string) => (name.includes("one.example") ? txt() : resolver.txt(name)),
    };
    run.feed(run.about("one.example"), run.about("two.example"));
    await run.pass(27);
    expect(run.states()).toEqual({ "one.example": "open", "two.example": "composed" });
    expect(run.of("one.example")).toMatchObject({ lastError: "resolver", failures: 0 });
    expect(run.of("one.example").resolveAttempts).toBeGreaterThan(0);
    const { verdict } = await run.requests.explain("d!one.example");
    expect(verdict).toBe("waits for DNS: resolver");
    run.resolver = resolver;
    await run.pass(8);
    expect(run.states()["one.example"]).toBe("composed");
  });

  it("what is counted during a composition is in the next report, and nothing twice", async () => {
    run.beforeComposing = () => void run.feed(run.about("one.example", { count: 5 }));
    run.feed(run.about("one.example", { count: 2 }));
    await run.requests.send("d!one.example");
    run.beforeComposing = () => {};
    await run.pass(48);
    const sums = run.reports().map((each) => run.countIn(each.messageIds[0]!));
    expect(sums).toEqual([2, 5]);
  });

  const changes: readonly (readonly [string, () => void, string])[] = [
    ["cancelled", () => void run.requests.cancel("d!one.example"), "dropped"],
    ["held", () => void run.requests.hold("d!one.example", true), "held"],
  ];
  it.each(changes)(
    "a report that is %s while it is composed is not sent, the others are",
    async (_, act, state) => {
      run.beforeComposing = (job) => (job.policyDomain === "one.example" ? act() : undefined);
      run.feed(run.about("one.example"), run.about("two.example"));
      await run.pass(25);
      expect(run.states()).toEqual({ "one.example": state, "two.example": "composed" });
      expect(failed()).toEqual([]);
    },
  );

  it("a report that is being composed is not composed a second time", async () => {
    let second: Promise<unknown> | undefined;
    run.beforeComposing = () => {
      second ??= run.requests.send("d!one.example").catch((error: unknown) => error);
    };
    run.feed(run.about("one.example"));
    await run.requests.send("d!one.example");
    expect(await second).toMatchObject({ code: "outgoing.composing" });
    expect(run.jobs).toEqual(["one.example"]);
  });
});
