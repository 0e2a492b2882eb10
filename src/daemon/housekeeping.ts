/**
 * Maintains the databases: deletes what has expired, makes copies, checks integrity. Each job is a unit of work: one that
 * fails is logged, and the next one runs.
 */
import { existsSync, rmSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { Config } from "../config/schema.ts";
import { type Clock, epochSeconds, type Timer } from "../lib/clock.ts";
import { makeDirectory } from "../lib/directory.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { supervised } from "../lib/supervised.ts";
import type { IngestPort } from "../receive/port.ts";
import type { ArchiveReader, RetentionPolicy } from "../store/archive.ts";
import type { QueueStore } from "../store/queue.ts";
import { checkDatabase, databaseSize } from "../store/sqlite/maintenance.ts";

const EVERY_MS = 3_600_000;
const DAY = 86_400;
/** Rows deleted at once; other work is done between two slices. */
const SLICE_ROWS = 1000;
/** Pages given back to the file system at once. */
const SLICE_PAGES = 1000;

export interface HousekeepingOptions {
  readonly config: () => Config;
  readonly archivePath: string;
  readonly queuePath: string;
  readonly archive: ArchiveReader;
  readonly ingest: IngestPort;
  readonly queue: QueueStore;
  readonly clock: Clock;
  readonly log: Log;
}

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  #timer: Timer | undefined;
  #running: Promise<Record<string, number>> | undefined;
  #stopping = false;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
  }

  /** Deletes what has expired once an hour from now on; a job that fails is logged. */
  start(): void {
    this.#timer = this.#options.clock.after(EVERY_MS, () => {
      this.start();
      void supervised({ log: this.#options.log, unit: "retention" }, () => this.prune(false));
    });
  }

  /** Ends after the slice that is being deleted. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#timer?.cancel();
    await this.#running?.catch(() => undefined); // whoever began it has the error
  }

  /**
   * Deletes what has expired, in small slices; returns how much that is. One job at a time: a second caller gets the
   * result of the first.
   * @param dryRun only count
   */
  async prune(dryRun: boolean): Promise<Record<string, number>> {
    const { archive, clock } = this.#options;
    const now = epochSeconds(clock);
    const policy = this.#policy();
    if (dryRun) return archive.expirable(now, policy);
    this.#running ??= this.#expire(now, policy).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  #policy(): RetentionPolicy {
    const { raw, failed, records, feedback } = this.#options.config().retention;
    return {
      raw: raw / 1000,
      failedRaw: failed / 1000,
      records: records / 1000,
      feedback: feedback / 1000,
    };
  }

  /** Both databases, whatever happens to the other one. */
  async #expire(now: number, policy: RetentionPolicy): Promise<Record<string, number>> {
    const [archived, queued] = await Promise.allSettled([
      this.#expireArchive(now, policy),
      this.#expireQueue(now),
    ]);
    const rows = archived.status === "fulfilled" ? archived.value.rows : 0;
    const settled = queued.status === "fulfilled" ? queued.value : 0;
    if (rows + settled > 0) this.#options.log.info("retention.done", { rows, settled });
    if (archived.status === "rejected") throw archived.reason;
    if (queued.status === "rejected") throw queued.reason;
    return { ...archived.value.counted, settled };
  }

  async #expireArchive(now: number, policy: RetentionPolicy) {
    const { archive, ingest } = this.#options;
    const counted = await archive.expirable(now, policy);
    let rows = 0;
    while (!this.#stopping) {
      const deleted = await ingest.expire(now, policy, SLICE_ROWS);
      if (deleted === 0) break;
      rows += deleted;
    }
    return { counted, rows };
  }

  async #expireQueue(now: number): Promise<number> {
    const { queue, config } = this.#options;
    const before = now - config().deliver.keep_settled / 1000;
    // as long as events of its period may come, a report must be known to be closed
    const closed = Math.min(before, now - config().report.max_age / 1000 - DAY);
    let settled = 0;
    while (!this.#stopping) {
      const deleted = queue.prune(before, SLICE_ROWS) + queue.pruneOutgoing(closed, SLICE_ROWS);
      if (deleted === 0) break;
      settled += deleted;
      await new Promise((resolve) => setImmediate(resolve));
    }
    queue.checkpoint();
    return settled;
  }

  /**
   * Copies both databases into the new directory `folder` while they are in use. A backup that fails leaves no copy.
   * Errors: `request.invalid` for a path that is not absolute or has a copy already, `store.*`.
   */
  async backup(folder: string): Promise<readonly { readonly path: string; readonly bytes: number }[]> {
    if (!isAbsolute(folder))
      throw new MailreportError("request.invalid", { detail: `not absolute: ${folder}` });
    const files = { archive: join(folder, "archive.db"), queue: join(folder, "queue.db") };
    const there = Object.values(files).find((path) => existsSync(path));
    if (there !== undefined)
      throw new MailreportError("request.invalid", { detail: `${there} is there already` });
    const { log } = this.#options;
    const done = await supervised({ log, unit: "backup", fields: { folder } }, () =>
      this.#copy(folder, files),
    );
    if (done.ok) return done.value;
    for (const path of Object.values(files)) rmSync(path, { force: true });
    throw done.failure.error;
  }

  async #copy(folder: string, files: { readonly archive: string; readonly queue: string }) {
    const { ingest, queue } = this.#options;
    try {
      makeDirectory(folder, 0o750);
      // the queue first: a report that is sent in between is then sent twice at worst, never forgotten
      const queued = await queue.backup(files.queue);
      const archived = await ingest.backup(files.archive);
      return [
        { path: files.archive, bytes: archived.bytes },
        { path: files.queue, bytes: queued.bytes },
      ];
    } catch (error) {
      if (error instanceof MailreportError) throw error;
      throw new MailreportError("store.io", { detail: `${folder}: ${errorText(error)}`, cause: error });
    }
  }

  /** Problems of the databases; empty when the integrity of both is ok. */
  async check(): Promise<readonly string[]> {
    const { archivePath, queuePath } = this.#options;
    const found: string[] = [];
    for (const [name, path] of [
      ["archive.db", archivePath],
      ["queue.db", queuePath],
    ] as const) {
      for (const problem of await checkDatabase(path)) found.push(`${name}: ${problem}`);
    }
    return found;
  }

  /** Gives unused pages back to the file system, a slice at a time; returns the bytes by which the files shrank. */
  async vacuum(): Promise<number> {
    const { ingest, queue } = this.#options;
    const before = this.#bytes();
    let left = Number.POSITIVE_INFINITY;
    for (
      let rest = await ingest.vacuum(SLICE_PAGES);
      rest > 0 && rest < left;
      rest = await ingest.vacuum(SLICE_PAGES)
    ) {
      left = rest;
    }
    left = Number.POSITIVE_INFINITY;
    for (let rest = queue.vacuum(SLICE_PAGES); rest > 0 && rest < left; rest = queue.vacuum(SLICE_PAGES)) {
      left = rest;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return Math.max(0, before - this.#bytes());
  }

  #bytes(): number {
    const { archivePath, queuePath } = this.#options;
    return databaseSize(archivePath).bytes + databaseSize(queuePath).bytes;
  }

  /** Size and content of the databases. */
  async stats(): Promise<Record<string, unknown>> {
    const { archive, archivePath, queue, queuePath } = this.#options;
    const size = await archive.size();
    const counters = await archive.stats();
    const records = counters["archive.record"] ?? 0;
    const own = databaseSize(archivePath);
    return {
      archive: {
        path: archivePath,
        ...own,
        ...size,
        records,
        bytes_per_record:
          records === 0 ? null : Math.round(((own.bytes - size.raw_bytes) / records) * 10) / 10,
      },
      queue: { path: queuePath, ...databaseSize(queuePath), ...queue.stats() },
    };
  }
}
