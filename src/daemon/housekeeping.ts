/**
 * Maintains the databases: deletes what has expired, makes copies, checks integrity. Each job is a unit of work: one that
 * fails is logged, and the next one runs.
 */
import { existsSync, rmdirSync, rmSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import type { Config } from "../config/schema.ts";
import { type Clock, epochSeconds, type Timer } from "../lib/clock.ts";
import { makeDirectory } from "../lib/directory.ts";
import { type ErrorCode, errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, supervised } from "../lib/supervised.ts";
import type { RetentionPolicy } from "../model/retention.ts";
import { retentionPolicy } from "../receive/policy.ts";
import type { IngestPort } from "../receive/port.ts";
import type { ArchiveReader } from "../store/archive/reader.ts";
import type { QueueStore } from "../store/queue.ts";
import type { CopyDatabase } from "../store/sqlite/copy.ts";
import { checkDatabase, databaseSize } from "../store/sqlite/maintenance.ts";
import { systemError } from "./system-error.ts";

const EVERY_MS = 3_600_000;
const DAY = 86_400;
/** Rows deleted at once; other work is done between two slices. */
const SLICE_ROWS = 1000;
const LONGEST_PAUSE_MS = 200;
/** Pages given back to the file system at once; a slice ends earlier when its time is over. */
const SLICE_PAGES = 1000;

export interface HousekeepingOptions {
  readonly config: () => Config;
  readonly archivePath: string;
  readonly queuePath: string;
  readonly archive: ArchiveReader;
  readonly ingest: IngestPort;
  readonly queue: QueueStore;
  readonly copy: CopyDatabase;
  readonly clock: Clock;
  readonly log: Log;
}

/** The name of a copy until all are complete. */
const unfinished = (path: string): string => `${path}.new`;

/** The directories of a path that are not there, the innermost first. */
function missingFolders(folder: string): string[] {
  const missing: string[] = [];
  for (let at = folder; !existsSync(at) && dirname(at) !== at; at = dirname(at)) missing.push(at);
  return missing;
}

/** Removes the files, and the directories that are empty then. What cannot be removed stays. */
function removeMade(files: readonly string[], folders: readonly string[]): void {
  try {
    for (const path of files) for (const end of ["", "-journal"]) rmSync(`${path}${end}`, { force: true });
    for (const folder of folders) if (existsSync(folder)) rmdirSync(folder);
  } catch {
    return; // the error of the backup is the answer
  }
}

/** What was made or renamed in the directory is durable afterwards. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Errors of files, which a copy can meet as well as the database that is copied. */
const ABOUT_FILES = new Set<ErrorCode>([
  "store.full",
  "store.io",
  "store.busy",
  "store.corrupt",
  "daemon.no_permission",
  "daemon.state_unusable",
]);

/** An error of a copy, with the directory that it was for; the errors of a process that ends stay as they are. */
function backupError(folder: string, error: unknown): MailreportError {
  const known = systemError(error);
  const ours = known instanceof MailreportError;
  if (ours && !ABOUT_FILES.has(known.code)) return known;
  const code = ours && known.code !== "daemon.state_unusable" ? known.code : "store.io";
  const why = (ours ? known.detail : undefined) ?? errorText(error);
  return new MailreportError(code, { detail: `backup to ${folder}: ${why}`, cause: error });
}

/** Counts of both databases, by what an operator calls the things. */
function finishedCounts(
  archive: Readonly<Record<string, number>>,
  envelopes: number,
  reports: number,
): Record<string, number> {
  return { ...archive, finished_envelopes: envelopes, closed_outgoing_reports: reports };
}

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  #timer: Timer | undefined;
  #running: Promise<Record<string, number>> | undefined;
  #stopping = false;
  /** Ends a backup. */
  readonly #abort = new AbortController();
  /** The directory that a backup is being made in. */
  #backingUp: string | undefined;
  #copying: Promise<unknown> | undefined;

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

  /** Ends after the slice that is being deleted; a backup is given up. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#timer?.cancel();
    this.#abort.abort(new MailreportError("daemon.stopping"));
    await this.#copying?.catch(() => undefined);
    await this.#running?.catch(() => undefined); // whoever began it has the error
  }

  /**
   * Deletes what has expired in both databases, in small slices; returns how much that is. One job at a time: a second
   * caller gets the result of the first.
   * @param dryRun only count: the same things under the same names
   */
  async prune(dryRun: boolean): Promise<Record<string, number>> {
    const { archive, clock } = this.#options;
    const now = epochSeconds(clock);
    const policy = retentionPolicy(this.#options.config());
    if (dryRun) {
      const { before, closed } = this.#finishedBefore(now);
      const { envelopes, reports } = this.#options.queue.countFinished(before, closed);
      return finishedCounts(await archive.expirable(now, policy), envelopes, reports);
    }
    this.#running ??= this.#expire(now, policy).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Both databases, whatever happens to the other one. */
  async #expire(now: number, policy: RetentionPolicy): Promise<Record<string, number>> {
    const [archived, queued] = await Promise.allSettled([
      this.#expireArchive(now, policy),
      this.#expireQueue(now),
    ]);
    const rows = archived.status === "fulfilled" ? archived.value.rows : 0;
    const settled = queued.status === "fulfilled" ? queued.value.envelopes + queued.value.reports : 0;
    if (rows + settled > 0) this.#options.log.info("retention.done", { rows, settled });
    if (archived.status === "rejected") throw archived.reason;
    if (queued.status === "rejected") throw queued.reason;
    return finishedCounts(archived.value.counted, queued.value.envelopes, queued.value.reports);
  }

  async #expireArchive(now: number, policy: RetentionPolicy) {
    const { archive, ingest, clock } = this.#options;
    const counted = await archive.expirable(now, policy);
    let rows = 0;
    while (!this.#stopping) {
      const begin = clock.monotonic();
      const slice = await ingest.expire(now, policy, SLICE_ROWS);
      rows += slice.rows;
      if (!slice.more) break;
      await this.#leaveDisk(clock.monotonic() - begin);
    }
    return { counted, rows };
  }

  /** Leaves the disk to new mail after a slice, for as long as the slice took. */
  async #leaveDisk(tookMs: number): Promise<void> {
    const pause = Math.min(tookMs, LONGEST_PAUSE_MS);
    if (pause >= 1) await new Promise<void>((resolve) => this.#options.clock.after(pause, resolve));
  }

  /** Epoch seconds before which envelopes and outgoing reports must be finished to be deleted. */
  #finishedBefore(now: number): { readonly before: number; readonly closed: number } {
    const { deliver, report } = this.#options.config();
    const before = now - deliver.keep_settled / 1000;
    // as long as events of its period may come, a report must be known to be closed
    return { before, closed: Math.min(before, now - report.max_age / 1000 - DAY) };
  }

  async #expireQueue(now: number) {
    const { queue } = this.#options;
    const { before, closed } = this.#finishedBefore(now);
    let [envelopes, reports] = [0, 0];
    while (!this.#stopping) {
      const [some, more] = [queue.prune(before, SLICE_ROWS), queue.pruneOutgoing(closed, SLICE_ROWS)];
      if (some + more === 0) break;
      envelopes += some;
      reports += more;
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#checkpoint();
    return { envelopes, reports };
  }

  /** Copies the log of queue.db into it. What was deleted is committed already, so a full disk here is no failure. */
  #checkpoint(): void {
    try {
      this.#options.queue.checkpoint();
    } catch (error) {
      const known = failureOf(systemError(error)).error;
      this.#options.log.warn("store.problem", {
        what: "checkpoint",
        code: known.code,
        error: errorText(known),
      });
    }
  }

  /**
   * Copies both databases into the directory `folder`, made when it is not there, while they are in use. One backup at a
   * time. A copy gets its name when both are complete and on the disk; a backup that fails removes what it made, and nothing else.
   * Errors: `request.invalid` for a path that is not absolute or has a copy already, `backup.running`, `store.*` with
   * the path.
   */
  async backup(folder: string): Promise<readonly { readonly path: string; readonly bytes: number }[]> {
    if (!isAbsolute(folder))
      throw new MailreportError("request.invalid", { detail: `not absolute: ${folder}` });
    if (this.#backingUp !== undefined)
      throw new MailreportError("backup.running", { detail: this.#backingUp });
    const names = ["archive.db", "queue.db"].flatMap((name) => [name, unfinished(name)]);
    const there = names.map((name) => join(folder, name)).find((path) => existsSync(path));
    if (there !== undefined)
      throw new MailreportError("request.invalid", { detail: `${there} is there already` });
    this.#backingUp = folder;
    try {
      const { log } = this.#options;
      const copying = supervised({ log, unit: "backup", fields: { folder } }, () => this.#copy(folder));
      this.#copying = copying;
      const done = await copying;
      if (done.ok) return done.value;
      throw done.failure.error;
    } finally {
      this.#backingUp = undefined;
    }
  }

  async #copy(folder: string) {
    const { copy, archivePath: archive, queuePath: queue } = this.#options;
    const { signal } = this.#abort;
    const archivePath = join(folder, "archive.db");
    const queuePath = join(folder, "queue.db");
    const folders = missingFolders(folder);
    const files: string[] = [];
    try {
      makeDirectory(folder, 0o750);
      // the queue first: a report that is sent in between is then sent twice at worst, never forgotten
      files.push(unfinished(queuePath));
      const queued = await copy(queue, unfinished(queuePath), signal);
      files.push(unfinished(archivePath));
      const archived = await copy(archive, unfinished(archivePath), signal);
      for (const path of [queuePath, archivePath]) {
        await rename(unfinished(path), path);
        files.push(path);
      }
      for (const path of [folder, ...folders.map(dirname)]) await syncDirectory(path);
      return [
        { path: archivePath, bytes: archived.bytes },
        { path: queuePath, bytes: queued.bytes },
      ];
    } catch (error) {
      removeMade(files, folders);
      throw backupError(folder, error);
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
