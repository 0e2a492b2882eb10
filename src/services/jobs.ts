/** The periodic jobs: what they did, and a run now. */
import type { MailreportError } from "../lib/errors.ts";
import type { JobDetail, JobRun, JobStatus } from "../model/jobs.ts";
import type { DaemonRow } from "../model/lists/lists.ts";
import type { Operation, Operations } from "./operation.ts";

/** The registry of jobs. */
export interface JobControl {
  list(): readonly JobStatus[];
  /**
   * Runs a job now; resolves at its end, with its error when it failed.
   * Errors, at once: `job.unknown`, `job.running`, `daemon.stopping`.
   */
  run(name: string, who: string): Promise<JobOutcome>;
  /** What a run would do. Errors: `job.unknown`, `job.no_dry_run`, those of the job. */
  dryRun(name: string): Promise<JobDetail>;
}

export interface JobOutcome {
  readonly run: JobRun;
  readonly failure: { readonly error: MailreportError } | null;
}

export interface JobService {
  list(): readonly DaemonRow<"jobs">[];
  /** Runs a job and waits for its end; a run that failed is a result. A dry run tells what a run would do. */
  readonly run: Operation<string, JobOutcome, JobDetail>;
}

/** A run as operators see it. */
export function jobRunRow(run: JobRun): NonNullable<DaemonRow<"jobs">["last"]> {
  return {
    begun_at: run.begunAt,
    ended_at: run.endedAt,
    took_ms: run.durationMs,
    result: run.result,
    who: run.who,
    error: run.code === null ? null : { code: run.code, message: run.error ?? "" },
    detail: run.detail,
  };
}

const jobRow = ({ name, about, schedule, state, last, nextAt }: JobStatus): DaemonRow<"jobs"> => ({
  name,
  about,
  schedule,
  state,
  last_at: last?.begunAt ?? null,
  last: last && jobRunRow(last),
  next_at: nextAt,
  runs: last?.runs ?? 0,
  failures: last?.failures ?? 0,
});

export function makeJobs(operations: Operations, control: JobControl): JobService {
  return {
    list: () => control.list().map(jobRow),
    run: operations.declare({
      name: "jobs run",
      plan: (name: string) => control.dryRun(name),
      change: (name: string, { who }) => control.run(name, who),
      audited: ({ run }) => ({ job: run.name, result: run.result }),
    }),
  };
}
