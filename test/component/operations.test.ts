/** Every operation over real databases: a dry run changes no row, a change leaves one entry of the audit. */

import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Services } from "../../src/control/services.ts";
import { Parts } from "../../src/daemon/parts.ts";
import { Pauses } from "../../src/daemon/pauses.ts";
import { makeServices, type ServiceOptions } from "../../src/daemon/services.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { ImportItem } from "../../src/services/import.ts";
import type { Operation } from "../../src/services/operation.ts";
import { mailWithXml } from "../support/archive-box.ts";
import { DAY } from "../support/events.ts";
import { settle } from "../support/fake-clock.ts";
import { dmarcXml } from "../support/reading.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import type { ReportRun } from "../support/report-run.ts";
import { MAIL, ServiceBox } from "../support/service-box.ts";

const CALLER = { who: "job test", reason: "because" };
const YEAR_MS = 365 * 86_400_000;

let box: ServiceBox;
let run: ReportRun;
let services: Services;

beforeEach(() => {
  box = new ServiceBox();
  ({ run, services } = box);
});
afterEach(() => box.end());

async function* items(): AsyncGenerator<ImportItem> {
  yield { file: "a.eml", member: null, form: "mail", raw: MAIL.raw };
}

/** An operation with a request that changes something, after what makes it do so. */
interface Case {
  readonly operation: Operation<never, unknown, unknown>;
  readonly request: unknown;
  /** The command of the audit entry, where it is not the name. */
  readonly command?: string;
}
const of = <Request>(
  operation: Operation<Request, unknown, unknown>,
  request: NoInfer<Request>,
  command?: string,
): Case => ({
  operation: operation as Operation<never, unknown, unknown>,
  request,
  ...(command === undefined ? {} : { command }),
});

const CASES: Readonly<Record<string, () => Case | Promise<Case>>> = {
  schedule: async () =>
    of(services.envelopes.actions.schedule, { ...(await box.queued()), at: box.now + 60 }),
  hold: async () => of(services.envelopes.actions.hold, await box.queued()),
  release: async () => {
    const asked = await box.queued();
    run.store.holdEnvelopes(asked.selection, true);
    return of(services.envelopes.actions.release, asked);
  },
  remove: async () => of(services.envelopes.actions.remove, await box.queued()),
  undelete: async () => {
    const asked = await box.queued();
    run.store.removeEnvelopes(asked.selection, box.now);
    return of(services.envelopes.actions.undelete, asked);
  },
  requeue: async () => of(services.envelopes.actions.requeue, await box.tried("failed")),
  "suppress add": () => of(services.suppressions.add, { target: "@slow.example", until: null }),
  "suppress remove": () => {
    const entry = { target: "@slow.example", until: null, reason: "", createdAt: DAY, step: 0 };
    run.store.suppress({ ...entry, author: "operator" });
    return of(services.suppressions.remove, ["@slow.example"]);
  },
  "report send": () => of(services.outgoing.send, box.open()),
  "report cancel": () => of(services.outgoing.cancel, box.open()),
  "report undelete": () => {
    const id = box.open();
    run.requests.cancel(id);
    return of(services.outgoing.undelete, id);
  },
  "report hold": () => of(services.outgoing.hold, box.open()),
  "report release": () => {
    const id = box.open();
    run.requests.hold(id, true);
    return of(services.outgoing.release, id);
  },
  "report schedule": () => of(services.outgoing.schedule, { id: box.open(), at: box.now + 60 }),
  pause: () => of(services.pauses.pause, { subsystem: "mta", destination: "slow.example" }, "pause mta"),
  resume: () => {
    const pause = { subsystem: "smtp", destination: null } as const;
    run.store.pause({ ...pause, since: box.now, who: "op", reason: null });
    return of(services.pauses.resume, pause, "resume smtp");
  },
  import: () => of(services.mails.import, { items: items(), answer: async () => {} }),
  reparse: async () => {
    await box.archive.intake(MAIL);
    return of(services.mails.reparse, { all: true });
  },
  feed: () => of(services.feeds.lines, { name: "control", lines: [box.line], first: 1 }),
  "db backup": () => of(services.databases.backup, join(run.dir, "copy")),
  "db vacuum": () => of(services.databases.vacuum, undefined),
  "db prune": async () => {
    await box.tried("delivered");
    run.clock.jump(YEAR_MS);
    return of(services.databases.prune, undefined);
  },
  "jobs run": () => of(services.jobs.run, "retention"),
  reload: () => of(services.daemon.reload, undefined),
  stop: () => of(services.daemon.stop, undefined),
  log: () => of(services.daemon.setLogLevel, "debug"),
};

const changes = () => run.lines.filter(({ event }) => event === "control.changed");

it("all operations are in the table", () => {
  expect(Object.keys(CASES).sort()).toEqual([...box.operations.names].sort());
});

describe("an operation is audited once, with who and why", () => {
  it.each(Object.keys(CASES))("%s", async (name) => {
    const { operation, request, command = name } = await CASES[name]!();
    expect(operation.name).toBe(name);
    expect(box.audit()).toEqual([]);
    await operation.run(request as never, CALLER);
    expect(box.audit()).toMatchObject([{ who: "job test", command, detail: { reason: "because" } }]);
    expect(changes()).toMatchObject([{ fields: { command, ...CALLER } }]);
    await settle();
  });
});

describe("a dry run changes no row of any table and audits nothing", () => {
  const WITHOUT = ["import", "db backup", "db vacuum"];

  it.each(Object.keys(CASES).filter((name) => !WITHOUT.includes(name)))("%s", async (name) => {
    const { operation, request } = await CASES[name]!();
    const before = box.content();
    await operation.dryRun(request as never, CALLER);
    await settle();
    expect(box.content()).toBe(before);
    expect(changes()).toEqual([]);
    expect(box.life.filter((each) => !each.startsWith("check"))).toEqual([]);
  });

  it.each(WITHOUT)("%s has none and says so", async (name) => {
    const { operation, request } = await CASES[name]!();
    const before = box.content();
    const refused = operation.dryRun(request as never, CALLER);
    await expect(refused).rejects.toMatchObject({ code: "request.invalid" });
    expect(box.content()).toBe(before);
  });
});

it("a dry run of reparse asks the ingest process for nothing, and counts what would be parsed", async () => {
  await box.archive.intake(MAIL);
  box.archive.writer.reparse = () => Promise.reject(new Error("it was asked"));
  const would = await services.mails.reparse.dryRun({ all: true }, CALLER);
  expect(would).toMatchObject({ parsed: 1, outcomes: {} });
});

describe("an operation that changes nothing is not audited", () => {
  it.each([
    "hold",
    "release",
    "remove",
    "undelete",
    "requeue",
    "suppress remove",
    "report hold",
    "report release",
    "pause",
    "resume",
    "db prune",
  ])("%s for the second time", async (name) => {
    const { operation, request } = await CASES[name]!();
    await operation.run(request as never, CALLER);
    await operation.run(request as never, CALLER);
    expect(box.audit()).toHaveLength(1);
  });
});

describe("a pause for a name that no envelope has was stored, and delivery went on", () => {
  const mta = (destination: string) => ({ subsystem: "mta" as const, destination });

  it("the domain is paused and resumed in its canonical form", async () => {
    const { pause, resume } = services.pauses;
    expect(await pause.dryRun(mta("Slow.Example."), CALLER)).toMatchObject({ changed: true });
    await pause.run(mta("Slow.Example."), CALLER);
    expect(services.pauses.list()).toMatchObject([mta("slow.example")]);
    expect(await pause.run(mta("slow.example"), CALLER)).toMatchObject({ changed: false });
    expect(box.audit()).toMatchObject([{ command: "pause mta", detail: { destination: "slow.example" } }]);
    expect(await resume.dryRun(mta("SLOW.example"), CALLER)).toMatchObject({ changed: true });
    expect(await resume.run(mta("SLOW.example"), CALLER)).toMatchObject({ changed: true });
    expect(services.pauses.list()).toEqual([]);
  });

  it("what is no domain is refused, and so is a destination of a subsystem that has none", async () => {
    for (const [request, says] of [
      [mta("foo..bar"), "not a domain: foo..bar"],
      [
        { subsystem: "smtp" as const, destination: "slow.example" },
        "smtp cannot be paused for one destination",
      ],
    ] as const)
      for (const { run, dryRun } of [services.pauses.pause, services.pauses.resume])
        for (const call of [run, dryRun]) {
          const refused = expect(call(request, CALLER)).rejects;
          await refused.toMatchObject({ code: "request.invalid", message: expect.stringContaining(says) });
        }
    expect(services.pauses.list()).toEqual([]);
  });

  it("a stored pause of such a name is resumed as the list shows it", async () => {
    run.store.pause({ ...mta("SLOW.EXAMPLE."), since: box.now, who: "op", reason: null });
    expect(await services.pauses.resume.run(mta("SLOW.EXAMPLE."), CALLER)).toMatchObject({ changed: true });
    expect(services.pauses.list()).toEqual([]);
  });
});

describe("the caller", () => {
  it("and the reason of a pause are shown with it", async () => {
    await services.pauses.pause.run({ subsystem: "mta", destination: null }, CALLER);
    expect(services.pauses.list()).toMatchObject([{ subsystem: "mta", ...CALLER }]);
  });

  it("gives the reason of a suppression", async () => {
    await services.suppressions.add.run({ target: "@slow.example", until: null }, CALLER);
    expect(services.suppressions.list(true)).toMatchObject([{ reason: "because" }]);
  });

  it("stops the daemon after the audit, and is known to it", async () => {
    await services.daemon.stop.run(undefined, CALLER);
    expect([box.life, box.audit().length]).toEqual([[], 1]);
    await settle();
    expect(box.life).toEqual(["stop by job test"]);
  });
});

it("a reparse that failed in the middle was not audited: what it did is, and the error is thrown", async () => {
  const mails = Array.from({ length: 25 }, (_, n) => mailWithXml(dmarcXml(`r${n}`)));
  for (const mail of mails) await box.archive.intake(mail);
  const reparse = box.archive.writer.reparse.bind(box.archive.writer);
  let calls = 0;
  box.archive.writer.reparse = (...args) => {
    if (calls++ > 0) return Promise.reject(new MailreportError("store.full"));
    return reparse(...args);
  };
  await expect(services.mails.reparse.run({ all: true }, CALLER)).rejects.toMatchObject({
    code: "store.full",
  });
  expect(box.audit()).toMatchObject([{ command: "reparse", detail: { parsed: 20 } }]);
});

it("before the queue is open an operation is logged, and there is no table to write to", async () => {
  const parts = new Parts(run.config, () => new MailreportError("store.full"));
  const early = makeServices({
    ...{ parts, pauses: new Pauses(parts), clock: run.clock, sink: { log: run.log } },
    events: loggedEvents(run.log, run.clock),
    stop: (who: string) => void box.life.push(`stop by ${who}`),
  } as unknown as ServiceOptions).services;
  await early.daemon.stop.run(undefined, { who: "signal", reason: "SIGTERM" });
  expect(changes()).toMatchObject([{ fields: { command: "stop", who: "signal", reason: "SIGTERM" } }]);
  expect(run.lines.filter(({ event }) => event === "unit.failed")).toEqual([]);
  await expect(early.outgoing.cancel.run("d!one.example", CALLER)).rejects.toMatchObject({
    code: "store.full",
  });
});
