/** The job that deletes what has expired: in the archive by its retention, in the queue what is finished. */
import type { Config } from "../../config/schema.ts";
import { type Clock, epochSeconds } from "../../lib/clock.ts";
import type { Log } from "../../lib/log/log.ts";
import { JOB_TABLE, type JobDetail } from "../../model/jobs.ts";
import { retentionPolicy } from "../../receive/policy.ts";
import type { IngestPort } from "../../receive/port.ts";
import type { ArchiveReader } from "../../store/archive/reader.ts";
import type { QueueStore } from "../../store/queue.ts";
import type { Job } from "./registry.ts";

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
  envelopes: number,
  reports: number,
): Record<string, number> {
  return { ...archive, finished_envelopes: envelopes, closed_outgoing_reports: reports };
}

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
  const { envelopes, reports } = queue.countFinished(before, closed);
  return countsOf(await archive.expirable(now, retentionPolicy(config())), envelopes, reports);
}

/** Deletes in both databases, whatever happens in the other one. */
async function expire(options: RetentionOptions, signal: AbortSignal): Promise<JobDetail> {
  const now = epochSeconds(options.clock);
  const [archived, queued] = await Promise.allSettled([
    expireArchive(options, now, signal),
    expireQueue(options, now, signal),
  ]);
  const rows = archived.status === "fulfilled" ? archived.value.rows : 0;
  const settled = queued.status === "fulfilled" ? queued.value.envelopes + queued.value.reports : 0;
  if (rows + settled > 0) options.log.info("retention.done", { rows, settled });
  if (archived.status === "rejected") throw archived.reason;
  if (queued.status === "rejected") throw queued.reason;
  return countsOf(archived.value.counted, queued.value.envelopes, queued.value.reports);
}

async function expireArchive(
  { archive, ingest, config, clock }: RetentionOptions,
  now: number,
  signal: AbortSignal,
): Promise<{ readonly counted: Readonly<Record<string, number>>; readonly rows: number }> {
  const policy = retentionPolicy(config());
  const counted = await archive.expirable(now, policy);
  let rows = 0;
  while (!signal.aborted) {
    const begin = clock.monotonic();
    const slice = await ingest.expire(now, policy, SLICE_ROWS);
    rows += slice.rows;
    if (!slice.more) break;
    await leaveDisk(clock, clock.monotonic() - begin);
  }
  return { counted, rows };
}

/** Leaves the disk to new mail after a slice, for as long as the slice took. */
async function leaveDisk(clock: Clock, tookMs: number): Promise<void> {
  const pause = Math.min(tookMs, LONGEST_PAUSE_MS);
  if (pause >= 1) await new Promise<void>((resolve) => clock.after(pause, resolve));
}

async function expireQueue({ queue, config }: RetentionOptions, now: number, signal: AbortSignal) {
  const { before, closed } = finishedBefore(config(), now);
  let [envelopes, reports] = [0, 0];
  while (!signal.aborted) {
    const some = queue.prune(before, QUEUE_SLICE_ROWS);
    await turn();
    const more = queue.pruneOutgoing(closed, QUEUE_SLICE_ROWS);
    await turn();
    if (some + more === 0) break;
    envelopes += some;
    reports += more;
  }
  return { envelopes, reports };
}

/** Lets other work of the event loop run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
