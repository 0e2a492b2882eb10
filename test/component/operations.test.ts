/** Every operation over real databases: a dry run changes no row, a change leaves one entry of the audit. */
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Services } from "../../src/control/services.ts";
import { Housekeeping } from "../../src/daemon/housekeeping.ts";
import { Parts } from "../../src/daemon/parts.ts";
import { Pauses } from "../../src/daemon/pauses.ts";
import { makeServices, type ServiceOptions } from "../../src/daemon/services.ts";
import { makeFeeder } from "../../src/feed/batch.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { LogSink } from "../../src/lib/log/pino.ts";
import type { IngestPort } from "../../src/receive/port.ts";
import { makeCounter } from "../../src/report/counter.ts";
import type { ImportItem } from "../../src/services/import.ts";
import type { Operation, Operations } from "../../src/services/operation.ts";
import { ArchiveBox, mailWithXml, read } from "../support/archive-box.ts";
import { DAY } from "../support/events.ts";
import { settle } from "../support/fake-clock.ts";
import { dmarcXml } from "../support/reading.ts";
import { ReportRun } from "../support/report-run.ts";

const CALLER = { who: "job test", reason: "because" };
const DOMAIN = "one.example";
const YEAR_MS = 365 * 86_400_000;

let run: ReportRun;
let box: ArchiveBox;
let services: Services;
let operations: Operations;
/** What was asked of the daemon itself. */
let life: string[];

beforeEach(() => {
  run = new ReportRun();
  box = new ArchiveBox();
  life = [];
  const { clock, log, store } = run;
  const parts = new Parts(run.config, () => null);
  const { writer, reader } = box;
  const ingest = {
    acceptAndParse: async (intake) => (await box.intake(intake))[0]!,
    reparse: (ids) => writer.reparse(ids, read),
    expire: (now, policy, rows) => writer.expire(now, policy, rows),
    backup: (path) => writer.backup(path),
    vacuum: (pages) => writer.vacuum(pages),
    pauseParsing() {},
  } as Partial<IngestPort> as IngestPort;
  const config = () => run.config;
  const count = makeCounter({ config, store, clock, log, secret: Buffer.alloc(32, 1), onOpened() {} });
  Object.assign(parts.made, {
    queue: store,
    archive: reader,
    ingest,
    scheduler: run.scheduler,
    feeder: makeFeeder({ config, clock, count }),
    housekeeping: new Housekeeping({
      ...{ config, clock, log, ingest, archive: reader, queue: store },
      archivePath: box.path,
      queuePath: run.path,
    }),
  });
  const options = {
    ...{ parts, pauses: new Pauses(parts), clock },
    sink: { log, setLevel: (level: string) => void life.push(level) } as unknown as LogSink,
    stop: (who: string) => void life.push(`stop by ${who}`),
    reload: async (who: string, dryRun: boolean) => {
      life.push(`${dryRun ? "check" : "reload"} by ${who}`);
      return { ok: true, applied: ["a: 1 -> 2"], needsRestart: [], problems: [] };
    },
  };
  ({ services, operations } = makeServices(options as unknown as ServiceOptions));
});
afterEach(async () => {
  await run.end();
  await box.remove();
});

const now = (): number => epochSeconds(run.clock);

/** An envelope that waits; returns the request that names it. */
async function queued() {
  run.feed(run.about(DOMAIN));
  await run.requests.send(`d!${DOMAIN}`);
  const [envelope] = run.store.listEnvelopes({}, { limit: 1 }).items;
  return { selection: { ids: [envelope!.id] } };
}

/** The same after an attempt. */
async function tried(state: "failed" | "delivered") {
  const asked = await queued();
  const { id } = run.store.leaseEnvelopes(now(), 1, new Set())[0]!;
  const reply = { at: now(), host: null, ip: null, tls: null, code: null, enhanced: null, text: "" };
  const result = state === "failed" ? "permanent" : "delivered";
  run.store.settle(id, { result, reply, durationMs: 1 }, { state, nextAt: now() }, now());
  return asked;
}

function open(): string {
  run.feed(run.about(DOMAIN));
  return run.of(DOMAIN).id;
}

const MAIL = mailWithXml(dmarcXml());

async function* items(): AsyncGenerator<ImportItem> {
  yield { file: "a.eml", member: null, form: "mail", raw: MAIL.raw };
}

const LINE = () =>
  JSON.stringify({
    ...{ v: 1, kind: "dmarc", time: now(), source_ip: "192.0.2.10", header_from: DOMAIN },
    ...{ policy: { domain: DOMAIN, p: "reject" }, disposition: "none" },
    ...{ dkim_aligned: true, spf_aligned: false },
  });

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
  schedule: async () => of(services.envelopes.actions.schedule, { ...(await queued()), at: now() + 60 }),
  hold: async () => of(services.envelopes.actions.hold, await queued()),
  release: async () => {
    const asked = await queued();
    run.store.holdEnvelopes(asked.selection, true);
    return of(services.envelopes.actions.release, asked);
  },
  remove: async () => of(services.envelopes.actions.remove, await queued()),
  undelete: async () => {
    const asked = await queued();
    run.store.removeEnvelopes(asked.selection, now());
    return of(services.envelopes.actions.undelete, asked);
  },
  requeue: async () => of(services.envelopes.actions.requeue, await tried("failed")),
  "suppress add": () => of(services.suppressions.add, { target: "@slow.example", until: null }),
  "suppress remove": () => {
    const entry = { target: "@slow.example", until: null, reason: "", createdAt: DAY, step: 0 };
    run.store.suppress({ ...entry, author: "operator" });
    return of(services.suppressions.remove, ["@slow.example"]);
  },
  "report send": () => of(services.outgoing.send, open()),
  "report cancel": () => of(services.outgoing.cancel, open()),
  "report undelete": () => {
    const id = open();
    run.requests.cancel(id);
    return of(services.outgoing.undelete, id);
  },
  "report hold": () => of(services.outgoing.hold, open()),
  "report release": () => {
    const id = open();
    run.requests.hold(id, true);
    return of(services.outgoing.release, id);
  },
  "report schedule": () => of(services.outgoing.schedule, { id: open(), at: now() + 60 }),
  pause: () => of(services.pauses.pause, { subsystem: "mta", destination: "slow.example" }, "pause mta"),
  resume: () => {
    const pause = { subsystem: "smtp", destination: null } as const;
    run.store.pause({ ...pause, since: now(), who: "op", reason: null });
    return of(services.pauses.resume, pause, "resume smtp");
  },
  import: () => of(services.mails.import, { items: items(), answer: async () => {} }),
  reparse: async () => {
    await box.intake(MAIL);
    return of(services.mails.reparse, { all: true });
  },
  feed: () => of(services.feeds.lines, { name: "control", lines: [LINE()], first: 1 }),
  "db backup": () => of(services.databases.backup, join(run.dir, "copy")),
  "db vacuum": () => of(services.databases.vacuum, undefined),
  "db prune": async () => {
    await tried("delivered");
    run.clock.jump(YEAR_MS);
    return of(services.databases.prune, undefined);
  },
  reload: () => of(services.daemon.reload, undefined),
  stop: () => of(services.daemon.stop, undefined),
  log: () => of(services.daemon.setLogLevel, "debug"),
};

/** All rows of both databases. */
const content = (): string => {
  const archive = box.sql((database) => {
    const tables = database
      .prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
      .pluck()
      .all();
    return tables.map((table) => [table, database.prepare(`SELECT * FROM "${table}"`).all()]);
  });
  return `${JSON.stringify(archive)}\n${run.content()}`;
};

/** The entries of the audit table. */
const audit = () =>
  run.beside((database) =>
    (database.prepare("SELECT who, command, detail FROM audit").all() as Record<string, string>[]).map(
      ({ detail, ...row }) => ({ ...row, detail: JSON.parse(detail!) as Record<string, unknown> }),
    ),
  );

const changes = () => run.lines.filter(({ event }) => event === "control.changed");

it("all operations are in the table", () => {
  expect(Object.keys(CASES).sort()).toEqual([...operations.names].sort());
});

describe("an operation is audited once, with who and why", () => {
  it.each(Object.keys(CASES))("%s", async (name) => {
    const { operation, request, command = name } = await CASES[name]!();
    expect(operation.name).toBe(name);
    expect(audit()).toEqual([]);
    await operation.run(request as never, CALLER);
    expect(audit()).toMatchObject([{ who: "job test", command, detail: { reason: "because" } }]);
    expect(changes()).toMatchObject([{ fields: { command, ...CALLER } }]);
    await settle();
  });
});

describe("a dry run changes no row of any table and audits nothing", () => {
  const WITHOUT = ["import", "db backup", "db vacuum"];

  it.each(Object.keys(CASES).filter((name) => !WITHOUT.includes(name)))("%s", async (name) => {
    const { operation, request } = await CASES[name]!();
    const before = content();
    await operation.dryRun(request as never, CALLER);
    await settle();
    expect(content()).toBe(before);
    expect(changes()).toEqual([]);
    expect(life.filter((each) => !each.startsWith("check"))).toEqual([]);
  });

  it.each(WITHOUT)("%s has none and says so", async (name) => {
    const { operation, request } = await CASES[name]!();
    const before = content();
    const refused = operation.dryRun(request as never, CALLER);
    await expect(refused).rejects.toMatchObject({ code: "request.invalid" });
    expect(content()).toBe(before);
  });
});

it("a dry run of reparse asks the ingest process for nothing, and counts what would be parsed", async () => {
  await box.intake(MAIL);
  box.writer.reparse = () => Promise.reject(new Error("it was asked"));
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
    expect(audit()).toHaveLength(1);
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
    expect([life, audit().length]).toEqual([[], 1]);
    await settle();
    expect(life).toEqual(["stop by job test"]);
  });
});

it("a reparse that failed in the middle was not audited: what it did is, and the error is thrown", async () => {
  const mails = Array.from({ length: 25 }, (_, n) => mailWithXml(dmarcXml(`r${n}`)));
  for (const mail of mails) await box.intake(mail);
  const { reparse } = box.writer;
  let calls = 0;
  box.writer.reparse = (...args) => {
    if (calls++ > 0) return Promise.reject(new MailreportError("store.full"));
    return reparse(...args);
  };
  await expect(services.mails.reparse.run({ all: true }, CALLER)).rejects.toMatchObject({
    code: "store.full",
  });
  expect(audit()).toMatchObject([{ command: "reparse", detail: { parsed: 20 } }]);
});

it("before the queue is open an operation is logged, and there is no table to write to", async () => {
  const parts = new Parts(run.config, () => new MailreportError("store.full"));
  const early = makeServices({
    ...{ parts, pauses: new Pauses(parts), clock: run.clock, sink: { log: run.log } },
    stop: (who: string) => void life.push(`stop by ${who}`),
  } as unknown as ServiceOptions).services;
  await early.daemon.stop.run(undefined, { who: "signal", reason: "SIGTERM" });
  expect(changes()).toMatchObject([{ fields: { command: "stop", who: "signal", reason: "SIGTERM" } }]);
  expect(run.lines.filter(({ event }) => event === "unit.failed")).toEqual([]);
  await expect(early.outgoing.cancel.run("d!one.example", CALLER)).rejects.toMatchObject({
    code: "store.full",
  });
});
