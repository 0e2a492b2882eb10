/** The job `retention` over a real queue and a played archive: what it deletes, counts, and does when one of them fails. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { JobRegistry } from "../../src/daemon/jobs/registry.ts";
import { retentionJob } from "../../src/daemon/jobs/retention.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { IngestPort } from "../../src/receive/port.ts";
import type { ArchiveReader } from "../../src/store/archive/reader.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { recordedLog } from "../support/recorded-log.ts";
import { testConfig } from "../support/test-config.ts";

const HOUR = 3_600_000;
const EXPIRABLE = { raw_mails: 7, feedback_reports: 0, reports_with_records: 0 };
const WHO = "control socket";

describe("retention", () => {
  let folder: string;
  let clock: FakeClock;
  let queue: QueueStore;
  /** What the ingest process answers next; a thrown value is its error. */
  let answers: (() => number | Promise<number>)[];
  let expired: number;
  let expirable: () => Promise<unknown>;
  const log = recordedLog();

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "retention-"));
    clock = new FakeClock();
    queue = openQueueStore(join(folder, "queue.db"));
    answers = [];
    expired = 0;
    expirable = async () => EXPIRABLE;
    log.lines.length = 0;
  });
  afterEach(() => {
    queue.close();
    rmSync(folder, { recursive: true });
  });

  const start = (more: Partial<QueueStore> = {}): JobRegistry => {
    const ingest = {
      expire: async () => {
        expired++;
        const rows = (await answers.shift()?.()) ?? 0;
        return { rows, more: rows > 0 };
      },
    } as unknown as IngestPort;
    const job = retentionJob({
      config: () => testConfig(),
      archive: { expirable: () => expirable() } as unknown as ArchiveReader,
      ingest,
      queue: { ...queue, ...more },
      clock,
      log,
    });
    const events = loggedEvents(log, clock);
    const registry = new JobRegistry({ jobs: [job], store: queue, clock, log, events });
    registry.start();
    return registry;
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
    const jobs = start();
    answers = [fault];
    await clock.advance(HOUR);
    await settle();
    expect(log.of("unit.failed")).toMatchObject([{ unit: "job", job: "retention", ...line }]);
    expect(jobs.list()).toMatchObject([{ name: "retention", state: "failed", last: { code: line.code } }]);
    answers = [() => 5];
    await clock.advance(HOUR);
    await settle();
    expect(log.of("unit.failed")).toHaveLength(1);
    expect(log.of("retention.done")).toMatchObject([{ rows: 5 }]);
    expect(jobs.list()).toMatchObject([{ state: "idle", last: { runs: 2, failures: 1 } }]);
    await jobs.stop();
    expect(clock.pendingTimers).toBe(0);
  });

  it("a fault in one database kept the other one from being cleaned", async () => {
    let pruned = 0;
    const jobs = start({
      prune: () => {
        pruned++;
        return 0;
      },
    });
    answers = [fails("store.full")];
    expect((await jobs.run("retention", WHO)).run).toMatchObject({ result: "failed", code: "store.full" });
    expect(pruned).toBe(1);
    await jobs.stop();
    answers = [];
    const other = start({ prune: fails("store.busy") });
    answers = [() => 3];
    expect((await other.run("retention", WHO)).run).toMatchObject({ result: "failed", code: "store.busy" });
    expect(log.of("retention.done")).toMatchObject([{ rows: 3 }]);
    await other.stop();
  });

  it("a run that failed in the middle told nothing of what it had deleted: the rows are in its detail", async () => {
    const jobs = start();
    answers = [() => 7, () => 5, fails("store.busy")];
    const { run } = await jobs.run("retention", WHO);
    const detail = { archive_rows: 12, finished_envelopes: 0, closed_outgoing_reports: 0 };
    expect(run).toMatchObject({ result: "failed", code: "store.busy", detail });
    expect(queue.jobRuns()).toMatchObject([{ result: "failed", detail }]);
    expect(log.of("retention.done")).toMatchObject([{ rows: 12 }]);
    await jobs.stop();
  });

  it("too many questions to the archive ended the deletion: it goes on without counting before", async () => {
    expirable = async () => {
      throw new MailreportError("archive.busy");
    };
    const jobs = start();
    answers = [() => 7];
    expect((await jobs.run("retention", WHO)).run).toMatchObject({
      result: "ok",
      detail: { archive_rows: 7 },
    });
    await jobs.stop();
  });

  it("a dry run deletes nothing", async () => {
    const jobs = start();
    expect(await jobs.dryRun("retention")).toMatchObject(EXPIRABLE);
    expect(expired).toBe(0);
    expect(jobs.list()).toMatchObject([{ state: "scheduled", last: null }]);
    await jobs.stop();
  });

  it("a dry run left out what is deleted from the queue: it counts the same things under the same names", async () => {
    const left = { envelopes: 4, reports: 2 };
    const jobs = start({
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
    const would = await jobs.dryRun("retention");
    expect(would).toEqual({ ...EXPIRABLE, finished_envelopes: 4, closed_outgoing_reports: 2 });
    expect((await jobs.run("retention", WHO)).run.detail).toEqual(would);
    expect(await jobs.dryRun("retention")).toMatchObject({ finished_envelopes: 0 });
    await jobs.stop();
  });

  it("a stop waited for the end of the deletions: it waits for the slice in work", async () => {
    let slices = 0;
    const jobs = start();
    let finish: (rows: number) => void = () => {};
    answers = Array.from({ length: 100 }, () => () => {
      slices++;
      return new Promise<number>((resolve) => {
        finish = resolve;
      });
    });
    const running = jobs.run("retention", WHO);
    await settle();
    const stopped = jobs.stop();
    finish(1000);
    await stopped;
    expect(slices).toBe(1);
    const detail = { archive_rows: 1000 };
    expect((await running).run).toMatchObject({ result: "stopped", error: null, detail });
    expect(queue.jobRuns()).toMatchObject([{ result: "stopped" }]);
  });

  it("a job that fails while the daemon stops does not stop the stop, and is no failure", async () => {
    const jobs = start();
    let fail: (error: Error) => void = () => {};
    answers = [
      () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    ];
    const running = jobs.run("retention", WHO);
    await settle();
    const stopped = jobs.stop();
    fail(new MailreportError("daemon.stopping"));
    await stopped;
    expect((await running).run).toMatchObject({ result: "stopped", code: null });
    expect(log.of("unit.failed")).toEqual([]);
  });
});
