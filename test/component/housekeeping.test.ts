/** Retention and copies as jobs: one that fails is told, and the next one runs. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Housekeeping } from "../../src/daemon/housekeeping.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { IngestPort } from "../../src/receive/port.ts";
import type { ArchiveReader } from "../../src/store/archive/reader.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { recordedLog } from "../support/recorded-log.ts";
import { testConfig } from "../support/test-config.ts";
import { until } from "../support/wait.ts";

const HOUR = 3_600_000;
const EXPIRABLE = {
  raw_mails: 7,
  feedback_reports: 0,
  reports_with_records: 0,
  mails: 3,
  day_sums: 2,
  report_keys: 0,
  names: 1,
};

describe("housekeeping", () => {
  let folder: string;
  let clock: FakeClock;
  let queue: QueueStore;
  /** What the ingest process answers next; a thrown value is its error. */
  let answers: (() => number | Promise<number>)[];
  let expired: number;
  let copy: (path: string, signal?: AbortSignal) => Promise<{ readonly bytes: number }>;
  const log = recordedLog();

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "housekeeping-"));
    clock = new FakeClock();
    queue = openQueueStore(join(folder, "queue.db"));
    answers = [];
    expired = 0;
    log.lines.length = 0;
    copy = async (path) => {
      writeFileSync(path, "a copy");
      return { bytes: 6 };
    };
  });
  afterEach(() => {
    queue.close();
    rmSync(folder, { recursive: true });
  });

  const start = (more: Partial<QueueStore> = {}): Housekeeping => {
    const housekeeping = new Housekeeping({
      config: () => testConfig(),
      archivePath: join(folder, "archive.db"),
      queuePath: join(folder, "queue.db"),
      archive: { expirable: async () => EXPIRABLE } as unknown as ArchiveReader,
      ingest: {
        expire: async () => {
          expired++;
          const rows = (await answers.shift()?.()) ?? 0;
          return { rows, more: rows > 0 };
        },
      } as unknown as IngestPort,
      copy: (_, to, signal) => copy(to, signal),
      queue: { ...queue, ...more },
      clock,
      log,
    });
    housekeeping.start();
    return housekeeping;
  };
  const fails = (code: "store.full" | "store.busy" | "ingest.unavailable") => () => {
    throw new MailreportError(code);
  };

  it.each([
    ["a full disk", fails("store.full"), { code: "store.full" }],
    ["a lock", fails("store.busy"), { code: "store.busy" }],
    ["an ingest process that died", fails("ingest.unavailable"), { code: "ingest.unavailable" }],
    ["a rejected promise", () => Promise.reject(new Error("a bug")), { code: "daemon.bug" }],
    [
      "an exception",
      () => {
        throw new TypeError("a bug");
      },
      { code: "daemon.bug", stack: expect.stringContaining("a bug") },
    ],
  ])("%s in the hourly job is logged once, and the next hour runs", async (_, fault, line) => {
    const housekeeping = start();
    answers = [fault];
    await clock.advance(HOUR);
    await settle();
    expect(log.of("unit.failed")).toMatchObject([{ unit: "retention", ...line }]);
    answers = [() => 5];
    await clock.advance(HOUR);
    await settle();
    expect(log.of("unit.failed")).toHaveLength(1);
    expect(log.of("retention.done")).toMatchObject([{ rows: 5 }]);
    await housekeeping.stop();
    expect(clock.pendingTimers).toBe(0);
  });

  it("a fault in one database kept the other one from being cleaned", async () => {
    let pruned = 0;
    const housekeeping = start({
      prune: () => {
        pruned++;
        return 0;
      },
    });
    answers = [fails("store.full")];
    await expect(housekeeping.prune(false)).rejects.toMatchObject({ code: "store.full" });
    expect(pruned).toBe(1);
    await housekeeping.stop();
    const other = start({ prune: fails("store.busy") });
    answers = [() => 3];
    await expect(other.prune(false)).rejects.toMatchObject({ code: "store.busy" });
    expect(log.of("retention.done")).toMatchObject([{ rows: 3 }]);
    await other.stop();
  });

  it("a full disk in the checkpoint after the deletions made the job fail: what was deleted is its answer", async () => {
    let left = 3;
    const housekeeping = start({
      prune: () => {
        const deleted = left;
        left = 0;
        return deleted;
      },
      checkpoint: () => {
        throw new MailreportError("store.full");
      },
    });
    expect(await housekeeping.prune(false)).toMatchObject({ finished_envelopes: 3 });
    expect(log.of("store.problem")).toMatchObject([{ what: "checkpoint", code: "store.full" }]);
    expect(log.of("unit.failed")).toEqual([]);
    await housekeeping.stop();
  });

  it("a dry run deletes nothing", async () => {
    const housekeeping = start();
    expect(await housekeeping.prune(true)).toMatchObject(EXPIRABLE);
    expect(expired).toBe(0);
    await housekeeping.stop();
  });

  it("a dry run left out what is deleted from the queue: it counts the same things under the same names", async () => {
    const left = { envelopes: 4, reports: 2 };
    const housekeeping = start({
      countFinished: (before, closed) => {
        expect(closed).toBeLessThan(before);
        return left;
      },
      prune: () => {
        const deleted = left.envelopes;
        left.envelopes = 0;
        return deleted;
      },
      pruneOutgoing: () => {
        const deleted = left.reports;
        left.reports = 0;
        return deleted;
      },
    });
    const would = await housekeeping.prune(true);
    expect(would).toEqual({ ...EXPIRABLE, finished_envelopes: 4, closed_outgoing_reports: 2 });
    expect(await housekeeping.prune(false)).toEqual(would);
    expect(await housekeeping.prune(true)).toMatchObject({ finished_envelopes: 0 });
    await housekeeping.stop();
  });

  it("a job that fails while the daemon stops does not stop the stop", async () => {
    const housekeeping = start();
    let fail: (error: Error) => void = () => {};
    answers = [
      () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    ];
    const pruning = expect(housekeeping.prune(false)).rejects.toMatchObject({ code: "daemon.stopping" });
    await settle();
    const stopped = housekeeping.stop();
    fail(new MailreportError("daemon.stopping"));
    await stopped;
    await pruning;
  });

  it.each([
    ["a full disk", () => Promise.reject(new MailreportError("store.full")), "store.full"],
    ["a bug", () => Promise.reject(new TypeError("a bug")), "store.io"],
  ])("%s in a backup is its answer: no half copy stays, the next one succeeds", async (_, fault, code) => {
    const housekeeping = start();
    const good = copy;
    copy = fault;
    const target = join(folder, "copy");
    await expect(housekeeping.backup(target)).rejects.toMatchObject({ code });
    expect(log.of("unit.failed")).toMatchObject([{ unit: "backup", folder: target, code }]);
    expect(existsSync(target)).toBe(false);
    copy = good;
    expect(await housekeeping.backup(target)).toMatchObject([
      { bytes: 6 },
      { path: join(target, "queue.db") },
    ]);
    await expect(housekeeping.backup(target)).rejects.toMatchObject({ code: "request.invalid" });
    await housekeeping.stop();
  });

  it("two backups into one directory both said ok and left a part: the second one is refused", async () => {
    const housekeeping = start();
    let finish: () => void = () => {};
    let waiting = false;
    const good = copy;
    copy = async (path) => {
      if (!waiting)
        await new Promise<void>((resolve) => {
          finish = resolve;
          waiting = true;
        });
      return good(path);
    };
    const target = join(folder, "copy");
    const first = housekeeping.backup(target);
    await expect(housekeeping.backup(target)).rejects.toMatchObject({ code: "backup.running" });
    await expect(housekeeping.backup(join(folder, "other"))).rejects.toMatchObject({ detail: target });
    await until("the copy of the queue", () => waiting);
    expect(existsSync(join(target, "queue.db"))).toBe(false); // it gets its name when both are complete
    finish();
    await first;
    expect(readdirSync(target).sort()).toEqual(["archive.db", "queue.db"]);
    await housekeeping.stop();
  });

  it("a backup went on while the daemon stopped: it is given up, nothing stays", async () => {
    const housekeeping = start();
    copy = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason as Error));
      });
    const target = join(folder, "copy");
    const backup = expect(housekeeping.backup(target)).rejects.toMatchObject({ code: "daemon.stopping" });
    await settle();
    await housekeeping.stop();
    await backup;
    expect(existsSync(target)).toBe(false);
  });

  it("a failed backup removed files of others, and left its own directory", async () => {
    const housekeeping = start();
    copy = () => Promise.reject(new MailreportError("store.full", { detail: "archive: disk is full" }));
    const used = join(folder, "used");
    mkdirSync(used);
    writeFileSync(join(used, "note"), "of somebody else");
    await expect(housekeeping.backup(used)).rejects.toMatchObject({ code: "store.full" });
    expect(readdirSync(used)).toEqual(["note"]);
    await expect(housekeeping.backup(join(folder, "a", "b"))).rejects.toMatchObject({ code: "store.full" });
    expect(existsSync(join(folder, "a"))).toBe(false);
    writeFileSync(join(used, "queue.db"), "an older copy");
    await expect(housekeeping.backup(used)).rejects.toMatchObject({ code: "request.invalid" });
    expect(readdirSync(used).sort()).toEqual(["note", "queue.db"]);
    await housekeeping.stop();
  });

  it.each([
    ["of the archive", new MailreportError("store.full", { detail: "archive: full" }), "store.full"],
    [
      "of a system call",
      Object.assign(new Error("ENOSPC"), { code: "ENOSPC", syscall: "mkdir" }),
      "store.full",
    ],
    [
      "of a directory",
      Object.assign(new Error("ENOTDIR"), { code: "ENOTDIR", syscall: "mkdir" }),
      "store.io",
    ],
    ["of SQLite", Object.assign(new Error("full"), { code: "SQLITE_FULL" }), "store.full"],
    [
      "of access",
      Object.assign(new Error("EACCES"), { code: "EACCES", syscall: "mkdir" }),
      "daemon.no_permission",
    ],
  ])("an error %s did not say where the backup was to be: it names the path", async (_, error, code) => {
    const housekeeping = start();
    copy = () => Promise.reject(error);
    const target = join(folder, "copy");
    await expect(housekeeping.backup(target)).rejects.toMatchObject({
      code,
      detail: expect.stringContaining(`backup to ${target}: `),
    });
    await housekeeping.stop();
  });
});
