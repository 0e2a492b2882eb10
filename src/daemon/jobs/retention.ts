/** The job that deletes what has expired: in the archive by its retention, in the queue what is finished. */
import type { Config } from "../../config/schema.ts";
import { type Clock, epochSeconds } from "../../lib/clock.ts";
import type { Log } from "../../lib/log/log.ts";
import { supervised } from "../../lib/supervised.ts";
import { JOB_TABLE, type JobDetail } from "../../model/jobs.ts";
import type { RetentionPolicy } from "../../model/retention.ts";
import { retentionPolicy } from "../../receive/policy.ts";
import type { IngestPort } from "../../receive/port.ts";
import type { Expirable } from "../../store/archive/maintenance.ts";
import type { ArchiveReader } from "../../store/archive/reader.ts";
import type { QueueStore } from "../../store/queue.ts";
import { type Job, PartialRun } from "./registry.ts";

const DAY = 86_400;
/** Rows of the archive deleted in one transaction, by the ingest process. */
const SLICE_ROWS = 1000;
const LONGEST_PAUSE_MS = 200;
/** Rows of the queue deleted in one transaction, on the main thread. */
const QUEUE_SLICE_ROWS = 100;

export interface RetentionOptions {
  readonly config: () => Config;
  readonly archive: Pick<ArchiveReader, "expirable">;
  readonly ingest: Pick<IngestPort, "expire">;
  readonly queue: Pick<QueueStore, "prune" | "pruneOutgoing" | "countFinished">;
  readonly clock: Clock;
  readonly log: Log;
}

export function retentionJob(options: RetentionOptions): Job {
  return {
    name: "retention",
    ...JOB_TABLE.retention,
    run: (signal) => expire(options, signal),
    dryRun: () => countExpired(options),
  };
}

/** Counts of both databases, by what an operator calls the things. */
function countsOf(
  archive: Readonly<Record<string, number>>,
  { envelopes, reports }: { readonly envelopes: number; readonly reports: number },
): JobDetail {
  return { ...archive, finished_envelopes: envelopes, closed_outgoing_reports: reports };
}

/** How far a run has come. */
interface Progress {
  /** Rows of the archive that were deleted. */
  rows: number;
  /** What had expired in the archive when the run began; null: nobody could tell. */
  expired: Expirable | null;
  /** All of that was deleted. */
  complete: boolean;
  envelopes: number;
  reports: number;
}

/** What was deleted: the things by their names, or, of a run that did not come to its end, the rows of the archive. */
const deletedOf = (progress: Progress): JobDetail =>
  countsOf(
    progress.complete && progress.expired ? progress.expired : { archive_rows: progress.rows },
    progress,
  );

/** Epoch seconds before which envelopes and outgoing reports must be finished to be deleted. */
function finishedBefore(
  { deliver, report }: Config,
  now: number,
): { readonly before: number; readonly closed: number } {
  const before = now - deliver.keep_settled / 1000;
  // as long as events of its period may come, a report must be known to be closed
  return { before, closed: Math.min(before, now - report.max_age / 1000 - DAY) };
}

/** What a run would delete now: the same things under the same names. */
async function countExpired({ config, archive, queue, clock }: RetentionOptions): Promise<JobDetail> {
  const now = epochSeconds(clock);
  const { before, closed } = finishedBefore(config(), now);
  return countsOf(
    await archive.expirable(now, retentionPolicy(config())),
    queue.countFinished(before, closed),
  );
}

/** Deletes in both databases, whatever happens in the other one. */
async function expire(options: RetentionOptions, signal: AbortSignal): Promise<JobDetail> {
  const now = epochSeconds(options.clock);
  const progress: Progress = { rows: 0, expired: null, complete: false, envelopes: 0, reports: 0 };
  const done = await Promise.allSettled([
    expireArchive(options, now, signal, progress),
    expireQueue(options, now, signal, progress),
  ]);
  const { rows, envelopes, reports } = progress;
  const settled = envelopes + reports;
  if (rows + settled > 0) options.log.info("retention.done", { rows, settled });
  const failed = done.find((half) => half.status === "rejected");
  if (failed) throw new PartialRun(deletedOf(progress), failed.reason);
  return deletedOf(progress);
}

async function expireArchive(
  options: RetentionOptions,
  now: number,
  signal: AbortSignal,
  progress: Progress,
): Promise<void> {
  const { ingest, config, clock } = options;
  const policy = retentionPolicy(config());
  progress.expired = await expiredNow(options, now, policy);
  while (!signal.aborted) {
    const begin = clock.monotonic();
    const slice = await ingest.expire(now, policy, SLICE_ROWS);
    progress.rows += slice.rows;
    if (!slice.more) {
      progress.complete = true;
      return;
    }
    await leaveDisk(clock, clock.monotonic() - begin);
  }
}

/** What has expired, for the answer; when too many questions wait, or the archive cannot tell, it is deleted uncounted. */
async function expiredNow(
  { archive, log }: RetentionOptions,
  now: number,
  policy: RetentionPolicy,
): Promise<Expirable | null> {
  const counted = await supervised({ log, unit: "counting what has expired" }, () =>
    archive.expirable(now, policy),
  );
  return counted.ok ? counted.value : null;
}

/** Leaves the disk to new mail after a slice, for as long as the slice took. */
async function leaveDisk(clock: Clock, tookMs: number): Promise<void> {
  const pause = Math.min(tookMs, LONGEST_PAUSE_MS);
  if (pause >= 1) await new Promise<void>((resolve) => clock.after(pause, resolve));
}

async function expireQueue(
  { queue, config }: RetentionOptions,
  now: number,
  signal: AbortSignal,
  progress: Progress,
): Promise<void> {
  const { before, closed } = finishedBefore(config(), now);
  while (!signal.aborted) {
    const some = queue.prune(before, QUEUE_SLICE_ROWS);
    progress.envelopes += some;
    await turn();
    const more = queue.pruneOutgoing(closed, QUEUE_SLICE_ROWS);
    progress.reports += more;
    await turn();
    if (some + more === 0) return;
  }
}

/** Lets other work of the event loop run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
