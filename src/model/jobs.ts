/** Periodic jobs: their schedules, and what is kept of their last runs. Pure rules. */
import type { ErrorCode } from "../lib/errors.ts";
import { exactDuration } from "../lib/units.ts";

/** When a job runs. Milliseconds, whole seconds. */
export type JobSchedule =
  /** After the begin of the last run; the first run of all comes `firstMs` after a start. */
  | { readonly kind: "after"; readonly everyMs: number; readonly firstMs: number }
  /** At the times of the clock (UTC) that are a multiple of `everyMs` plus `offsetMs`. */
  | { readonly kind: "clock"; readonly everyMs: number; readonly offsetMs: number };

const HOUR_MS = 3_600_000;
/** Half past three at night UTC. */
const CHECK_OFFSET_MS = 12_600_000;
const HOURLY: JobSchedule = { kind: "after", everyMs: HOUR_MS, firstMs: HOUR_MS };

/** The table `[jobs]` of the configuration; milliseconds. */
export interface JobSettings {
  readonly database_check: number;
}

export interface JobAbout {
  /** What it does, for people. */
  readonly about: string;
  /** Null: it is switched off, and runs only when an operator says so. */
  readonly schedule: (settings: JobSettings) => JobSchedule | null;
  /** The configuration key that its schedule depends on. */
  readonly key?: string;
}

/** The jobs of the daemon, in the order in which they are shown. */
export const JOB_TABLE = {
  retention: { about: "deletes what has expired in both databases", schedule: () => HOURLY },
  checkpoint: {
    about: "copies the write-ahead log of queue.db into the database",
    schedule: () => HOURLY,
  },
  "database-check": {
    about: "checks the integrity of both databases",
    schedule: ({ database_check: everyMs }) =>
      everyMs === 0 ? null : { kind: "clock", everyMs, offsetMs: CHECK_OFFSET_MS },
    key: "jobs.database_check",
  },
} as const satisfies Record<string, JobAbout>;

export type JobName = keyof typeof JOB_TABLE;

/** How a run ended; `stopped`: by the end of the daemon, before it was done. */
export const JOB_RESULTS = ["ok", "failed", "stopped"] as const;
export type JobResult = (typeof JOB_RESULTS)[number];

/**
 * What a job does now: `running`; `disabled`, switched off by the configuration; `failed` or `idle` after its last run;
 * `scheduled`, there is no run that has ended.
 */
export const JOB_STATES = ["running", "disabled", "failed", "idle", "scheduled"] as const;
export type JobState = (typeof JOB_STATES)[number];

/** What a run did: counts, and short texts. */
export type JobDetail = Readonly<Record<string, number | string>>;

/** The last run of a job. Times are epoch seconds. */
export interface JobRun {
  readonly name: string;
  readonly begunAt: number;
  /** Null: it runs, or the process ended in its middle. */
  readonly endedAt: number | null;
  readonly durationMs: number | null;
  readonly result: JobResult | null;
  /** Who asked for it: `schedule`, or an operator. */
  readonly who: string;
  readonly code: ErrorCode | null;
  readonly error: string | null;
  readonly detail: JobDetail | null;
  /** All runs so far, and those that failed. */
  readonly runs: number;
  readonly failures: number;
}

/** A job as operators see it. Times are epoch seconds. */
export interface JobStatus {
  readonly name: string;
  readonly about: string;
  /** In words. */
  readonly schedule: string;
  readonly state: JobState;
  readonly last: JobRun | null;
  /** Null: it runs, or is switched off. */
  readonly nextAt: number | null;
}

/** A run that was missed while the daemon was down comes this long after the start, so that the start is quick. */
export const MISSED_RUN_MS = 60_000;

/**
 * When a job runs next, epoch milliseconds. A run that was missed, or cut off by the end of the process, is made up for
 * once, soon after the start. A last run that lies in the future was before the clock was set back: the next one is now.
 * @param last the last run; undefined: it never ran
 * @param startedAt when the jobs were started
 */
export function nextRunAt(
  schedule: JobSchedule,
  last: Pick<JobRun, "begunAt" | "result"> | undefined,
  startedAt: number,
  now: number,
): number {
  const soon = startedAt + MISSED_RUN_MS;
  const { everyMs } = schedule;
  if (last === undefined)
    return schedule.kind === "after" ? startedAt + schedule.firstMs : gridAfter(schedule, startedAt);
  if (last.result !== "ok" && last.result !== "failed") return soon;
  const from = last.begunAt * 1000;
  if (from > now) return now;
  const next = schedule.kind === "after" ? from + everyMs : gridAfter(schedule, from);
  return next <= startedAt ? soon : next;
}

/** The first time of the clock after `from`. */
function gridAfter({ everyMs, offsetMs }: Extract<JobSchedule, { kind: "clock" }>, from: number): number {
  return (Math.floor((from - offsetMs) / everyMs) + 1) * everyMs + offsetMs;
}

/** In words: `every 1h`, `every 1d at 03:30 UTC`. */
export function scheduleText(schedule: JobSchedule): string {
  const every = `every ${exactDuration(schedule.everyMs)}`;
  if (schedule.kind === "after") return every;
  const minutes = Math.floor(schedule.offsetMs / 60_000);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${every} at ${two(Math.floor(minutes / 60))}:${two(minutes % 60)} UTC`;
}

/** The state of a job that is enabled or not, runs or not, and has had this last run. */
export function jobState(enabled: boolean, running: boolean, last: JobRun | undefined): JobState {
  if (running) return "running";
  if (!enabled) return "disabled";
  if (last?.result === "failed") return "failed";
  return last?.result === "ok" ? "idle" : "scheduled";
}
