/** The supervised ingest process: a real one, some of whose mails kill it. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type Config, configSchema } from "../../src/config/schema.ts";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { type Ingest, type IngestOptions, startIngest } from "../../src/receive/ingest/supervisor.ts";
import type { Intake } from "../../src/store/archive/intake.ts";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { ROOT } from "../support/build.ts";
import { newFolderInMemory } from "../support/daemon.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { intakeOf } from "../support/intake.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { type RecordedLog, recordedLog } from "../support/recorded-log.ts";
import { dmarcMail } from "../support/report-mail.js";
import { canMount, SmallDisk } from "../support/small-disk.ts";
import { until } from "../support/wait.ts";

const BUILT = join(ROOT, "dist", "receive", "ingest", "child.js");
const FRAGILE = join(ROOT, "test", "support", "fragile-ingest.js");
/** Of the process: how long opening the archive may take, and when it has lived long. */
const OPEN_LIMIT_MS = 60_000;
const LONG_LIFE_MS = 10_000;
/** Parser threads of this one never become ready. */
const UNREADY = join(ROOT, "test", "support", "unready-ingest.js");
const MIGRATING = join(ROOT, "test", "support", "migrating-ingest.js");

describe("the ingest process", () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  const newFolder = (): string => {
    const folder = newFolderInMemory();
    cleanups.push(() => rmSync(folder, { recursive: true }));
    return folder;
  };

  async function start(
    program: string,
    options: Partial<IngestOptions> = {},
  ): Promise<{ ingest: Ingest; path: string; log: RecordedLog }> {
    const path = options.archive ?? join(newFolder(), "archive.db");
    const config = configSchema.parse({}) as unknown as Config;
    const log = recordedLog();
    const ingest = await startIngest({
      config,
      archive: path,
      log,
      events: loggedEvents(log),
      clock: systemClock,
      program,
      ...options,
    });
    cleanups.push(() => ingest.stop());
    return { ingest, path, log };
  }

  const intake = (raw: Uint8Array, envelopeFrom: string): Intake =>
    intakeOf(raw, { source: "lmtp", envelopeFrom, envelopeTo: [], remoteIp: null });
  const report = (id: string): Intake => intake(Buffer.from(dmarcMail({ id })), `${id}@b.example`);
  const killer = (words: string, n: number): Intake =>
    intake(Buffer.from(`Subject: killer ${n}\r\n\r\n${words}\r\n`), `${n}@b.example`);

  /** Counters and lists of the archive. */
  async function inArchive<T>(
    path: string,
    work: (reader: ReturnType<typeof openArchiveReader>) => Promise<T>,
  ) {
    const reader = openArchiveReader(path);
    try {
      return await work(reader);
    } finally {
      await reader.close();
    }
  }
  /** Attempts to parse a mail, the oldest one by default, that did not end. */
  function triesOf(path: string, mailId = 1): unknown {
    const database = openDatabase(path);
    try {
      return database.prepare("SELECT tries FROM mail WHERE id = ?").pluck().get(mailId);
    } finally {
      database.close();
    }
  }
  const countersOf = (path: string) => inArchive(path, (reader) => reader.stats());

  it("is started again, and mails that kill it are set aside after three tries; no other is touched", async () => {
    const { ingest, path } = await start(FRAGILE);
    const killer = (n: number) => Buffer.from(`Subject: killer ${n}\r\n\r\nKILL-THE-READER\r\n`);
    const good = (n: number) => Buffer.from(dmarcMail({ id: `good-${n}` }));
    const mails = Array.from({ length: 40 }, (_, n) => (n % 20 === 7 ? killer(n) : good(n)));
    const results = await Promise.all(
      mails.map((raw, n) => ingest.acceptAndParse(intake(raw, `${n}@b.example`))),
    );
    expect(results.map(({ outcome }) => outcome)).toEqual(
      mails.map((_, n) => (n % 20 === 7 ? "invalid" : "imported")),
    );
    expect(ingest.stats()).toMatchObject({ "ingest.quarantined": 2, "ingest.waiting": 0 });
    expect(ingest.stats()["ingest.restarts"]).toBeLessThanOrEqual(6);
    const after = await ingest.acceptAndParse(intake(good(100), "after@b.example"));
    expect(after.outcome).toBe("imported");

    const reader = openArchiveReader(path);
    const { items } = await reader.list("received", {}, { limit: 100 });
    expect(items).toHaveLength(41);
    const aside = items.filter((mail) => mail.outcome === "invalid");
    expect(aside.map((mail) => mail.reason)).toEqual(["internal", "internal"]);
    for (const mail of aside)
      expect(Buffer.from((await reader.rawMail(mail.id))!).toString()).toContain("KILL-THE-READER");
    expect((await reader.stats())["archive.report.dmarc"]).toBe(39);
    await reader.close();
  });

  it("killed from outside while it works loses nothing and counts nothing twice", async () => {
    const { ingest, path } = await start(BUILT);
    const all: Promise<unknown>[] = [];
    for (let n = 0; n < 300; n++) {
      all.push(ingest.accept(intake(Buffer.from(dmarcMail({ id: `m-${n}` })), `${n}@b.example`)));
      const pid = ingest.stats()["ingest.pid"]!;
      if (n % 60 === 30 && pid > 0) process.kill(pid, "SIGKILL"); // 0 would be ourselves
      if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(all);
    expect(await ingest.allParsed(30_000)).toBe(0);
    const reader = openArchiveReader(path);
    expect(await reader.stats()).toMatchObject({
      "archive.report.dmarc": 300,
      "archive.record": 300,
      "archive.unread": 0,
    });
    await reader.close();
  });

  it("a burst was told by the load of the machine: mails that wait together are stored first and parsed after it", async () => {
    const { ingest, path } = await start(BUILT);
    expect(await ingest.allParsed(30_000)).toBe(0);
    // one after the other is no burst
    for (let n = 0; n < 20; n++) expect((await ingest.accept(report(`n-${n}`))).spooled).toBe(false);
    // what comes while the process stands still waits together
    process.kill(ingest.stats()["ingest.pid"]!, "SIGSTOP");
    const all = Array.from({ length: 60 }, (_, n) => ingest.accept(report(`m-${n}`)));
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    process.kill(ingest.stats()["ingest.pid"]!, "SIGCONT");
    const accepted = await Promise.all(all);
    expect(accepted.filter(({ spooled }) => spooled).length).toBeGreaterThan(4);
    expect(await ingest.allParsed(30_000)).toBe(0);
    expect(ingest.unparsed).toBe(0);
    expect(await countersOf(path)).toMatchObject({
      "archive.report.dmarc": 80,
      "archive.unread": 0,
      "archive.unparsed": 0,
    });
    const { items } = await inArchive(path, (reader) =>
      reader.list("received", { outcome: "imported" }, { limit: 100 }),
    );
    expect(items).toHaveLength(80);
  });

  it("a list was incomplete without a word: a wait tells how many mails are not parsed, and ends at once in a pause", async () => {
    const { ingest } = await start(BUILT);
    ingest.pauseParsing(true);
    expect(ingest.parsing).toBe("paused");
    for (const id of ["p", "q"]) expect((await ingest.accept(report(id))).spooled).toBe(true);
    expect(await ingest.allParsed(Number.POSITIVE_INFINITY)).toBe(2);
    ingest.pauseParsing(false);
    process.kill(ingest.stats()["ingest.pid"]!, "SIGSTOP");
    expect(await ingest.allParsed(1)).toBe(2); // nobody parses now
    const paused = ingest.allParsed(Number.POSITIVE_INFINITY);
    ingest.pauseParsing(true);
    expect(await paused).toBe(2);
    ingest.pauseParsing(false);
    process.kill(ingest.stats()["ingest.pid"]!, "SIGCONT");
    expect(await ingest.allParsed(Number.POSITIVE_INFINITY)).toBe(0);
    expect(ingest.parsing).toBe("running");
  });

  it("mail that ends it when it arrives is set aside though it was to be stored first; the others are parsed", async () => {
    const { ingest, path } = await start(FRAGILE);
    ingest.pauseParsing(true);
    const mails = Array.from({ length: 20 }, (_, n) =>
      n % 10 === 3 ? killer("KILL-THE-READER", n) : report(`m-${n}`),
    );
    await Promise.all(mails.map((one) => ingest.accept(one)));
    ingest.pauseParsing(false);
    expect(await ingest.allParsed(30_000)).toBe(0);
    expect(await countersOf(path)).toMatchObject({ "archive.report.dmarc": 18, "archive.unread": 0 });
    const { items } = await inArchive(path, (reader) =>
      reader.list("received", { outcome: "invalid" }, { limit: 100 }),
    );
    expect(items.map((mail) => [mail.envelope_from, mail.reason]).sort()).toEqual([
      ["13@b.example", "internal"],
      ["3@b.example", "internal"],
    ]);
  });

  it("spooled mail that ends the process is set aside, and mail that comes meanwhile is parsed", async () => {
    const { ingest, path } = await start(FRAGILE);
    ingest.pauseParsing(true);
    await Promise.all(
      [0, 1, 2].map((n) => ingest.accept(n === 1 ? killer("KILL-THE-LOADER", n) : report(`s-${n}`))),
    );
    ingest.pauseParsing(false);
    const accepted = await Promise.all(
      Array.from({ length: 50 }, (_, n) => ingest.acceptAndParse(report(`m-${n}`))),
    );
    expect(new Set(accepted.map(({ outcome }) => outcome))).toEqual(new Set(["imported"]));
    expect(await ingest.allParsed(30_000)).toBe(0);
    expect(ingest.stats()).toMatchObject({ "ingest.quarantined": 0 });
    expect(await countersOf(path)).toMatchObject({
      "archive.report.dmarc": 52,
      "archive.outcome.invalid": 1,
    });
    const { items } = await inArchive(path, (reader) =>
      reader.list("received", { outcome: "invalid" }, { limit: 9 }),
    );
    expect(items).toMatchObject([{ envelope_from: "1@b.example", reason: "internal", raw_kept: true }]);
  });

  it("mail on its way in was suspected when the process died over spooled mail: it is not", async () => {
    const { ingest, path, log } = await start(FRAGILE);
    ingest.pauseParsing(true);
    await ingest.accept(killer("STOP-THE-LOADER", 0));
    ingest.pauseParsing(false);
    let innocent: ReturnType<Ingest["acceptAndParse"]> | undefined;
    for (let deaths = 0; deaths < 3; deaths++) {
      const pid = await until("the parser to stop", () => {
        const found = ingest.stats()["ingest.pid"]!;
        return found > 0 && log.of("ingest.died").length === deaths && isStopped(found) ? found : undefined;
      });
      innocent ??= ingest.acceptAndParse(report("innocent"));
      await until("the mail to be sent", () => ingest.stats()["ingest.mails"] === 2);
      process.kill(pid, "SIGKILL");
      await until("the death", () => log.of("ingest.died").length > deaths);
    }
    expect(await innocent).toMatchObject({ outcome: "imported" });
    expect(log.of("ingest.died").map(({ during }) => during)).toEqual(["spool", "spool", "spool"]);
    expect(await ingest.allParsed(30_000)).toBe(0);
    expect(ingest.stats()).toMatchObject({ "ingest.quarantined": 0 });
    expect(await countersOf(path)).toMatchObject({ "archive.report.dmarc": 1, "archive.outcome.invalid": 1 });
  });

  /** A large mail that a parser thread of the fragile process holds until `release`. */
  function heldMail(): { readonly held: Intake; readonly release: () => void } {
    const go = join(newFolder(), "go");
    const words = `Subject: held\r\nX-Note: HOLD-THE-THREAD ${go}\r\n`;
    const raw = Buffer.concat([Buffer.from(words), dmarcMail({ id: "held" }), Buffer.alloc(300_000, "\n")]);
    const release = (): void => writeFileSync(go, "");
    cleanups.push(release);
    return { held: intake(raw, "held@b.example"), release };
  }

  it("a large mail that was being parsed kept other mail waiting: it is answered, alone and in a burst", async () => {
    const { ingest, path } = await start(FRAGILE);
    const { held, release } = heldMail();
    const large = ingest.acceptAndParse(held);
    for (const id of ["a", "b"]) expect(await ingest.accept(report(id))).toMatchObject({ spooled: false });
    const many = Array.from({ length: 30 }, (_, n) => ingest.acceptAndParse(report(`m-${n}`)));
    expect(new Set((await Promise.all(many)).map(({ outcome }) => outcome))).toEqual(new Set(["imported"]));
    await Promise.all(Array.from({ length: 30 }, (_, n) => ingest.accept(report(`s-${n}`))));
    await until("the spool to be parsed", () => ingest.unparsed === 0);
    release();
    expect(await large).toMatchObject({ outcome: "imported" });
    expect((await countersOf(path))["archive.report.dmarc"]).toBe(63);
  });

  it("of imported reports with one key the one that was parsed first counted: it is the first one", async () => {
    const { ingest, path } = await start(BUILT);
    const imported = (id: string, records: number): Intake => ({
      ...intake(Buffer.from(dmarcMail({ id, records })), `${id}@b.example`),
      source: "import",
    });
    // large ones take long to parse and to store; of those behind them some are parsed at once
    const files = [20_000, 1, 2, 3000, 1, 9000, 2].map((records) => imported("same", records));
    const results = await Promise.all(files.map((file) => ingest.acceptAndParse(file)));
    const [first, ...others] = results.map(({ outcome }) => outcome);
    expect([first, new Set(others)]).toEqual(["imported", new Set(["duplicate-conflict"])]);
    expect(results.map(({ mailId }) => mailId)).toEqual(results.map((_, n) => n + 1));
    expect((await countersOf(path))["archive.record"]).toBe(20_000);
  });

  it("mails that killed the process in its threads took a large innocent one with them: only they are set aside", async () => {
    const { ingest, path, log } = await start(FRAGILE);
    const { held, release } = heldMail();
    const spooled = heldMail();
    expect((await ingest.accept(spooled.held)).spooled).toBe(true);
    const mails = [
      held,
      killer("KILL-THE-PROCESS", 1),
      ...Array.from({ length: 10 }, (_, n) => report(`m-${n}`)),
    ];
    const all = mails.map((one) => ingest.acceptAndParse(one));
    all.push(ingest.acceptAndParse(killer("KILL-THE-PROCESS", 2)));
    await until("a death", () => log.of("ingest.died").length > 0);
    release();
    spooled.release();
    const outcomes = (await Promise.all(all)).map(({ outcome, reason }) => [outcome, reason]);
    const aside = ["invalid", "internal"];
    expect(outcomes[0]![0]).toBe("imported");
    expect([outcomes[1], outcomes.at(-1)]).toEqual([aside, aside]);
    expect(new Set(outcomes.slice(2, -1).map(([outcome]) => outcome))).toEqual(new Set(["imported"]));
    expect(await ingest.allParsed(60_000)).toBe(0);
    expect(ingest.stats()).toMatchObject({ "ingest.quarantined": 2 });
    expect((await countersOf(path))["archive.outcome.invalid"]).toBe(2);
  });

  it("spooled mail that kills the process in a thread is set aside, and nothing that was spooled with it", async () => {
    const { ingest, path } = await start(FRAGILE);
    ingest.pauseParsing(true);
    const mails = Array.from({ length: 20 }, (_, n) =>
      n % 10 === 3 ? killer("KILL-THE-PROCESS", n) : report(`m-${n}`),
    );
    await Promise.all(mails.map((one) => ingest.accept(one)));
    ingest.pauseParsing(false);
    expect(await ingest.allParsed(60_000)).toBe(0);
    expect(await countersOf(path)).toMatchObject({
      "archive.report.dmarc": 18,
      "archive.outcome.invalid": 2,
    });
  });

  it("a parser thread that ended, ended the process: its mail alone is set aside, and the process goes on", async () => {
    const { ingest } = await start(FRAGILE);
    const mails = Array.from({ length: 12 }, (_, n) =>
      n === 5 ? killer("EXIT-THE-THREAD", n) : report(`m-${n}`),
    );
    const results = await Promise.all(mails.map((one) => ingest.acceptAndParse(one)));
    expect(results.map(({ outcome }) => outcome)).toEqual(
      mails.map((_, n) => (n === 5 ? "invalid" : "imported")),
    );
    expect(results[5]).toMatchObject({ reason: "internal", detail: expect.stringContaining("thread ended") });
    expect(ingest.stats()).toMatchObject({ "ingest.restarts": 0, "ingest.quarantined": 0 });
  });

  it("a process that stood still was waited for without end: it is killed, and its mail goes to the next one", async () => {
    const clock = new FakeClock();
    const { ingest, log } = await start(BUILT, { clock });
    process.kill(ingest.stats()["ingest.pid"]!, "SIGSTOP");
    const accepted = ingest.acceptAndParse(report("a"));
    await until("the mail to be sent", () => ingest.stats()["ingest.mails"] === 1);
    await clock.advance(60_000);
    expect(await accepted).toMatchObject({ outcome: "imported" });
    expect(log.of("ingest.died")).toMatchObject([{ why: "timeout", during: "intake" }]);
  });

  it("a stop while spooled mail was parsed counted as an attempt that ended the process: it does not", async () => {
    const { ingest, path, log } = await start(FRAGILE);
    const { held } = heldMail();
    await ingest.accept(held);
    await until("the attempt to begin", () => triesOf(path) === 1);
    await ingest.stop();
    expect([triesOf(path), log.of("ingest.died")]).toEqual([0, []]);
  });

  it("a process that was killed before it could parse counted that against spooled mail: no attempt has begun", async () => {
    const before = await start(BUILT);
    before.ingest.pauseParsing(true);
    await before.ingest.accept(report("a"));
    await before.ingest.stop();
    const { ingest, path } = await start(UNREADY, { archive: before.path });
    for (let n = 0; n < 3; n++) await ingest.vacuum(1); // the process has had its chance to take the mail
    expect(triesOf(path)).toBe(0);
    await ingest.stop();
    const after = await start(BUILT, { archive: path });
    expect(await after.ingest.allParsed(60_000)).toBe(0);
    expect(await countersOf(path)).toMatchObject({ "archive.report.dmarc": 1 });
  });

  it.each(["new", "spooled"])(
    "a suspect was taken while %s mail was parsed, which may end the process as well: its attempt begins after it",
    async (kind) => {
      const { ingest, path } = await start(FRAGILE);
      ingest.pauseParsing(true);
      await ingest.accept(report("first"));
      ingest.pauseParsing(false);
      expect(await ingest.allParsed(60_000)).toBe(0); // a thread is ready
      ingest.pauseParsing(true);
      const { held, release } = heldMail();
      const done = kind === "new" ? ingest.acceptAndParse(held) : ingest.accept(held);
      if (kind === "spooled") await done;
      await ingest.accept(report("suspect"));
      const database = openDatabase(path);
      const suspect = database.prepare<[], number>("SELECT max(id) FROM mail").pluck().get()!;
      database.prepare("UPDATE mail SET tries = 1 WHERE id = ?").run(suspect);
      database.close();
      ingest.pauseParsing(false);
      for (let n = 0; n < 3; n++) await ingest.vacuum(1); // the process has had its chance to take the mail
      expect(triesOf(path, suspect)).toBe(1);
      release();
      await done;
      expect(await ingest.allParsed(60_000)).toBe(0);
      expect(await countersOf(path)).toMatchObject({ "archive.report.dmarc": 3 });
    },
  );

  it("spooled mails that were parsed by hand left the backlog too high: the archive's own count is in every answer", async () => {
    const { ingest } = await start(BUILT);
    ingest.pauseParsing(true);
    for (const id of ["a", "b", "c"]) await ingest.accept(report(id));
    expect(ingest.unparsed).toBe(3);
    expect((await ingest.reparse([1, 3])).map(({ outcome }) => outcome)).toEqual(["imported", "imported"]);
    expect(ingest.unparsed).toBe(1);
    ingest.pauseParsing(false);
    expect(await ingest.allParsed(30_000)).toBe(0);
  });

  it("an error in what follows a parsed mail ended the daemon: it is logged, and the next mails follow", async () => {
    const followed: number[] = [];
    const { ingest, log } = await start(BUILT, {
      onRead: ({ mailId }) => {
        followed.push(mailId);
        if (mailId === 1) throw new Error("a bug in the follow-up");
      },
    });
    ingest.pauseParsing(true);
    for (const id of ["a", "b"]) await ingest.accept(report(id));
    ingest.pauseParsing(false);
    expect(await ingest.allParsed(30_000)).toBe(0);
    expect(followed).toEqual([1, 2]);
    expect(log.of("unit.failed")).toMatchObject([
      { mail: "m1", code: "daemon.bug", stack: expect.stringContaining("a bug in the follow-up") },
    ]);
  });

  it("a reparse of spooled mail lost its bounces and its log lines: what follows from it is done, once", async () => {
    const followed: number[] = [];
    const onRead: IngestOptions["onRead"] = ({ mailId }) => followed.push(mailId);
    const { ingest, log } = await start(BUILT, { onRead });
    await ingest.acceptAndParse(report("a"));
    ingest.pauseParsing(true);
    await ingest.accept(report("b"));
    const reparsed = await ingest.reparse([1, 2]);
    expect(reparsed.map(({ outcome }) => outcome)).toEqual(["imported", "imported"]);
    expect(followed).toEqual([2]);
    expect(log.of("report.stored")).toMatchObject([{ mail: "m1" }, { mail: "m2" }]);
    expect(ingest.unparsed).toBe(0);
    ingest.pauseParsing(false);
    expect(await ingest.allParsed(30_000)).toBe(0);
    expect(followed).toEqual([2]);
  });

  it("a job that failed ended the process: its error is the answer, and the process goes on", async () => {
    const { ingest, path } = await start(BUILT);
    await ingest.acceptAndParse(report("a"));
    const pid = ingest.stats()["ingest.pid"];
    const other = openDatabase(path);
    other.exec("BEGIN IMMEDIATE");
    await expect(ingest.vacuum(10)).rejects.toMatchObject({ code: "store.busy" });
    other.close();
    expect((await ingest.acceptAndParse(report("b"))).outcome).toBe("imported");
    expect(ingest.stats()).toMatchObject({ "ingest.restarts": 0, "ingest.pid": pid });
  });

  it("a migration that took longer than a minute was killed: it may take as long as it takes", async () => {
    const clock = new FakeClock();
    const log = recordedLog();
    const config = configSchema.parse({}) as unknown as Config;
    const archive = join(newFolder(), "archive.db");
    const starting = startIngest({
      config,
      archive,
      log,
      events: loggedEvents(log),
      clock,
      program: MIGRATING,
    });
    await until("the migration to begin", () => log.of("store.migrating").length > 0);
    expect(log.of("store.migrating")).toEqual([{ path: archive, from: 1, to: 2 }]);
    await clock.advance(3_600_000);
    // nobody knows the process yet but by the pipe: the one child of this test
    const { pid } = await childOf(MIGRATING);
    process.kill(pid, "SIGUSR2");
    const ingest = await starting;
    cleanups.push(() => ingest.stop());
    expect(ingest.stats()).toMatchObject({ "ingest.pid": pid, "ingest.restarts": 0 });
  });

  it("stopping while the archive is migrated waited until it was: the process is killed, and the start ends", async () => {
    const clock = new FakeClock();
    const log = recordedLog();
    const config = configSchema.parse({}) as unknown as Config;
    const archive = join(newFolder(), "archive.db");
    let stop = async (): Promise<void> => {};
    const options = { config, archive, log, events: loggedEvents(log), clock, program: MIGRATING };
    const starting = startIngest({
      ...options,
      onStarting: (how) => {
        stop = how;
      },
    });
    const failed = expect(starting).rejects.toMatchObject({ code: "daemon.stopping" });
    await until("the migration to begin", () => log.of("store.migrating").length > 0);
    const { pid } = await childOf(MIGRATING);
    await stop();
    await failed;
    await until("the process to be gone", () => !existsSync(`/proc/${pid}`));
    expect([log.of("store.problem"), log.of("ingest.died")]).toEqual([[], []]);
  });

  it("a process that died right after it opened was started without end: after 1, 2, 4 … 30 s, logged once", async () => {
    const fake = new FakeClock();
    const waits: number[] = [];
    const clock: Clock = {
      now: () => fake.now(),
      monotonic: () => fake.monotonic(),
      after: (ms, fn) => {
        if (ms !== OPEN_LIMIT_MS && ms !== LONG_LIFE_MS) waits.push(ms);
        return fake.after(ms, fn);
      },
    };
    const { ingest, log } = await start(BUILT, { clock });
    const pids = new Set<number>();
    const current = (): number => ingest.stats()["ingest.pid"]!;
    const alive = () => until("a new process", () => current() > 0 && !pids.has(current()));
    for (let death = 1; death <= 7; death++) {
      await alive();
      pids.add(current());
      process.kill(current(), "SIGKILL");
      await until("its end", () => ingest.stats()["ingest.restarts"] === death);
      await fake.advance(waits.at(-1)!);
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    expect(log.of("ingest.died")).toHaveLength(1);
    expect(log.of("store.problem")).toMatchObject([{ code: "ingest.unavailable" }]);
    expect(log.of("ingest.started")).toHaveLength(1);
    await alive();
    await fake.advance(LONG_LIFE_MS);
    expect(log.of("ingest.started")).toHaveLength(2);
    pids.add(current());
    process.kill(current(), "SIGKILL");
    await alive(); // at once: it lived long
    expect(log.of("ingest.died")).toHaveLength(2);
  });

  it("stopping ends the wait for another process", async () => {
    const clock = new FakeClock();
    const { ingest } = await start(BUILT, { clock });
    process.kill(ingest.stats()["ingest.pid"]!, "SIGKILL");
    await until("its end", () => ingest.stats()["ingest.restarts"] === 1);
    const waits = expect(ingest.vacuum(1)).rejects.toMatchObject({ code: "daemon.stopping" });
    await ingest.stop();
    await waits;
    expect(clock.pendingTimers).toBe(0);
  });

  it("a locked archive at start ended the daemon: mail is refused with store.busy until it can be opened", async () => {
    const archive = join(newFolder(), "archive.db");
    const other = openDatabase(archive);
    other.pragma("locking_mode = EXCLUSIVE");
    other.exec("CREATE TABLE held (x); BEGIN EXCLUSIVE");
    const clock = new FakeClock();
    const { ingest, log } = await start(BUILT, { archive, clock });
    expect(ingest.parsing).toBe("failing");
    await expect(ingest.accept(report("a"))).rejects.toMatchObject({ code: "store.busy", temporary: true });
    await expect(ingest.vacuum(10)).rejects.toMatchObject({ code: "store.busy" });
    expect(await ingest.allParsed(Number.POSITIVE_INFINITY)).toBe(0);
    await clock.advance(1000);
    await until("the second failure", () => clock.pendingTimers > 0);
    expect(log.of("store.problem")).toHaveLength(1); // the same news is told once
    other.exec("ROLLBACK; DROP TABLE held");
    other.close();
    await clock.advance(1000);
    await until("the archive to be open", () => log.of("ingest.started").length > 0);
    expect(await ingest.accept(report("a"))).toMatchObject({ result: { outcome: "imported" } });
  });

  it("a lock on the archive made mail fail for good: it is refused for now, spooled mail stays and is parsed later", async () => {
    const { ingest, path, log } = await start(BUILT);
    ingest.pauseParsing(true);
    for (const id of ["a", "b", "c"]) await ingest.accept(report(id));
    const other = openDatabase(path);
    other.exec("BEGIN IMMEDIATE");
    ingest.pauseParsing(false);
    await expect(ingest.acceptAndParse(report("d"))).rejects.toMatchObject({
      code: "store.busy",
      temporary: true,
    });
    await expect(ingest.reparse([1])).rejects.toMatchObject({ code: "store.busy" });
    await expect(
      ingest.expire(0, { raw: 1, failedRaw: 1, records: 1, feedback: 1, mails: 1, sums: 1 }, 1),
    ).rejects.toMatchObject({
      code: "store.busy",
    });
    // whoever waits is told that it does not go on, and how much is left
    expect(await ingest.allParsed(Number.POSITIVE_INFINITY)).toBe(3);
    expect(ingest.parsing).toBe("failing");
    other.exec("ROLLBACK");
    other.close();
    await until("the spool to be parsed", () => ingest.unparsed === 0);
    expect(ingest.parsing).toBe("running");
    expect(ingest.stats()["ingest.restarts"]).toBe(0);
    expect(log.of("unit.failed").every(({ code }) => code === "store.busy")).toBe(true);
    expect(await countersOf(path)).toMatchObject({ "archive.mail": 3, "archive.outcome.imported": 3 });
  });

  it.skipIf(!canMount())(
    "a full disk set acknowledged mail aside: it stays spooled, new mail gets store.full, all goes on with space",
    async () => {
      const disk = new SmallDisk("8m");
      cleanups.push(() => disk.remove());
      const { ingest, path } = await start(BUILT, { archive: join(disk.path, "archive.db") });
      ingest.pauseParsing(true);
      for (const id of ["a", "b", "c"]) await ingest.accept(report(id));
      disk.fill();
      ingest.pauseParsing(false);
      const large = intake(Buffer.from(dmarcMail({ id: "large", records: 20_000 })), "l@b.example");
      await expect(ingest.acceptAndParse(large)).rejects.toMatchObject({
        code: "store.full",
        temporary: true,
      });
      disk.free();
      await until("the spool to be parsed", () => ingest.unparsed === 0);
      expect((await ingest.acceptAndParse(report("d"))).outcome).toBe("imported");
      expect(ingest.stats()["ingest.restarts"]).toBe(0);
      expect(await countersOf(path)).toMatchObject({ "archive.mail": 4, "archive.outcome.imported": 4 });
    },
  );

  it.skipIf(!canMount())(
    "a disk that is full at start ended the daemon: it is asked again each second",
    async () => {
      const disk = new SmallDisk("4m");
      cleanups.push(() => disk.remove());
      disk.fill();
      const clock = new FakeClock();
      const { ingest, log } = await start(BUILT, { archive: join(disk.path, "archive.db"), clock });
      await expect(ingest.accept(report("a"))).rejects.toMatchObject({ code: "store.full" });
      disk.free();
      await clock.advance(1000);
      await until("the archive to be open", () => log.of("ingest.started").length > 0);
      expect(await ingest.accept(report("a"))).toMatchObject({ result: { outcome: "imported" } });
    },
  );

  it("an archive that is damaged is refused at start", async () => {
    const folder = newFolder();
    writeFileSync(
      join(folder, "archive.db"),
      "this is no database, but long enough to be looked at".repeat(40),
    );
    await expect(start(BUILT, { archive: join(folder, "archive.db") })).rejects.toMatchObject({
      code: "store.corrupt",
    });
  });
});

/** The process that runs a program, found by its command line. */
async function childOf(program: string): Promise<{ readonly pid: number }> {
  return until(`a process of ${program}`, () => {
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      const found = readProc(pid);
      if (found?.args.includes(program) && found.parent === process.pid) return { pid: Number(pid) };
    }
    return undefined;
  });
}

function isStopped(pid: number): boolean {
  return /\nState:\tT/.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

function readProc(pid: string): { readonly args: string[]; readonly parent: number } | undefined {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    const parent = Number(/\nPPid:\t(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
    return { args, parent };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined; // it has just ended
    throw error;
  }
}
