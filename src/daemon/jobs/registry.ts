/**
 * Runs the periodic jobs. Each run is a unit of work: one that fails is logged, and the job runs again at its next time.
 * The last run of each job is kept in the queue store, so that a restart goes on where the schedule was.
 */
import { type Clock, DueTimer, epochSeconds } from "../../lib/clock.ts";
import { type ErrorCode, errorText, MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { type Failure, failureOf, logFailure, type Supervised, supervised } from "../../lib/supervised.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import {
  type JobDetail,
  type JobRun,
  type JobSchedule,
  type JobStatus,
  jobState,
  nextRunAt,
  scheduleText,
} from "../../model/jobs.ts";
import type { QueueStore } from "../../store/queue.ts";
import { systemError } from "../system-error.ts";

/** A periodic job. */
export interface Job {
  /** Letters, digits and `-`. */
  readonly name: string;
  /** What it does, for people. */
  readonly about: string;
  /** By the configuration in force; null: it is switched off, and runs only when an operator says so. */
  readonly schedule: () => JobSchedule | null;
  /**
   * Does the work, in slices of at most some milliseconds of the main thread, and tells what was done. Once `signal` is
   * aborted it ends after the slice in work, with what was done so far or with `daemon.stopping`.
   */
  readonly run: (signal: AbortSignal) => Promise<JobDetail>;
  /** What a run would do now; absent for a job that cannot tell. */
  readonly dryRun?: () => Promise<JobDetail>;
}

/** What a job throws that failed after it had done a part of its work; the error is its cause. */
export class PartialRun extends Error {
  readonly detail: JobDetail;

  constructor(detail: JobDetail, cause: unknown) {
    super("a part of the work was done", { cause });
    this.name = "PartialRun";
    this.detail = detail;
  }
}

export interface JobRegistryOptions {
  readonly jobs: readonly Job[];
  readonly store: Pick<QueueStore, "jobRuns" | "putJobRun">;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
}

/** A run that has ended; with its error when it failed. */
export interface EndedRun {
  readonly run: JobRun;
  readonly failure: Failure | null;
}

interface Entry {
  readonly job: Job;
  last: JobRun | undefined;
  /** While it runs. */
  ended: Promise<EndedRun> | undefined;
}

/** What a run had done when it failed. */
interface Part {
  detail: JobDetail | null;
}

/** Who asks for a run that comes by its schedule. */
const SCHEDULE = "schedule";

export class JobRegistry {
  readonly #options: JobRegistryOptions;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #timer: DueTimer;
  readonly #stop = new AbortController();
  /** Epoch milliseconds. */
  #startedAt = 0;

  constructor(options: JobRegistryOptions) {
    const { jobs, clock, log } = options;
    this.#options = options;
    this.#entries = new Map(
      jobs.map((job): [string, Entry] => [job.name, { job, last: undefined, ended: undefined }]),
    );
    this.#timer = new DueTimer(
      clock,
      () => this.#nextDue(),
      async () => this.#runDue(),
      (error) => logFailure({ log, unit: "job schedule" }, failureOf(error)),
    );
  }

  /** Loads the last runs and begins. Errors: those of the store. */
  start(): void {
    const { store, clock } = this.#options;
    for (const run of store.jobRuns()) {
      const entry = this.#entries.get(run.name);
      if (entry) entry.last = run.result === null ? { ...run, result: "stopped" } : run;
    }
    this.#startedAt = clock.now();
    this.#timer.start();
  }

  /** Aborted when the daemon stops. */
  get stopping(): AbortSignal {
    return this.#stop.signal;
  }

  /** Says that the configuration, and with it a schedule, may have changed. */
  wake(): void {
    this.#timer.wake();
  }

  /** No further run begins; resolves when those in work have ended after their slice. */
  async stop(): Promise<void> {
    this.#stop.abort(new MailreportError("daemon.stopping"));
    await this.#timer.stop();
    await Promise.all([...this.#entries.values()].map(({ ended }) => ended));
  }

  list(): readonly JobStatus[] {
    return [...this.#entries.values()].map((entry): JobStatus => {
      const { job, last, ended } = entry;
      const schedule = job.schedule();
      const nextAt = this.#nextOf(entry);
      return {
        name: job.name,
        about: job.about,
        schedule: schedule === null ? "off" : scheduleText(schedule),
        state: jobState(schedule !== null, ended !== undefined, last),
        last: last ?? null,
        nextAt: nextAt === undefined ? null : Math.ceil(nextAt / 1000),
      };
    });
  }

  /**
   * Runs a job now. Resolves at its end, also when it failed.
   * Errors, at once: `job.unknown`, `job.running`, `daemon.stopping`.
   */
  run(name: string, who: string): Promise<EndedRun> {
    const entry = this.#find(name);
    if (this.#stop.signal.aborted) throw new MailreportError("daemon.stopping");
    if (entry.ended) {
      const { begunAt, who: by } = entry.last!;
      const since = new Date(begunAt * 1000).toISOString().slice(0, 19);
      throw new MailreportError("job.running", { detail: `${name}, since ${since}Z (${by})` });
    }
    return this.#launch(entry, who);
  }

  /** What a run would do now; nothing is done. Errors: `job.unknown`, `job.no_dry_run`, those of the job. */
  dryRun(name: string): Promise<JobDetail> {
    const { job } = this.#find(name);
    if (job.dryRun === undefined) throw new MailreportError("job.no_dry_run", { detail: name });
    return job.dryRun();
  }

  #find(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry) return entry;
    const known = [...this.#entries.keys()].join(", ");
    throw new MailreportError("job.unknown", { detail: `${name}; the jobs are ${known}` });
  }

  /** Epoch milliseconds; undefined: it runs, or is switched off. */
  #nextOf({ job, last, ended }: Entry): number | undefined {
    const schedule = job.schedule();
    if (schedule === null || ended !== undefined) return undefined;
    const now = this.#options.clock.now();
    this.#startedAt = Math.min(this.#startedAt, now); // the clock may have been set back
    return nextRunAt(schedule, last, this.#startedAt, now);
  }

  #nextDue(): number | undefined {
    const due = [...this.#entries.values()].flatMap((entry) => this.#nextOf(entry) ?? []);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  #runDue(): void {
    const now = this.#options.clock.now();
    for (const entry of this.#entries.values()) {
      const next = this.#nextOf(entry);
      if (next !== undefined && next <= now) void this.#launch(entry, SCHEDULE);
    }
  }

  #launch(entry: Entry, who: string): Promise<EndedRun> {
    const { job, last } = entry;
    const begun: JobRun = {
      name: job.name,
      begunAt: epochSeconds(this.#options.clock),
      endedAt: null,
      durationMs: null,
      result: null,
      who,
      code: null,
      error: null,
      detail: null,
      runs: (last?.runs ?? 0) + 1,
      failures: last?.failures ?? 0,
    };
    const ended = this.#work(entry, begun);
    entry.ended = ended;
    return ended;
  }

  async #work(entry: Entry, begun: JobRun): Promise<EndedRun> {
    const { clock, log } = this.#options;
    const from = clock.monotonic();
    this.#keep(entry, begun);
    const unit = { log, unit: "job", fields: { job: begun.name, who: begun.who } };
    const done: Part = { detail: null };
    const result = await supervised(unit, () => this.#call(entry.job, done));
    const run = this.#endOf({ ...begun, ...done }, Math.round(clock.monotonic() - from), result);
    this.#keep(entry, run);
    entry.ended = undefined;
    this.#report(entry, run);
    this.#timer.wake();
    return { run, failure: result.ok ? null : result.failure };
  }

  /** The detail of a run; null when it was stopped before it had any. */
  async #call({ run }: Job, done: Part): Promise<JobDetail | null> {
    try {
      return await run(this.#stop.signal);
    } catch (thrown) {
      if (thrown instanceof PartialRun) done.detail = thrown.detail;
      const error = systemError(thrown instanceof PartialRun ? thrown.cause : thrown);
      const isStopped = error instanceof MailreportError && error.code === "daemon.stopping";
      if (isStopped && this.#stop.signal.aborted) return done.detail;
      throw error;
    }
  }

  #endOf(begun: JobRun, durationMs: number, done: Supervised<JobDetail | null>): JobRun {
    const run = { ...begun, endedAt: epochSeconds(this.#options.clock), durationMs };
    if (done.ok) return { ...run, result: this.#stop.signal.aborted ? "stopped" : "ok", detail: done.value };
    const { error } = done.failure;
    return {
      ...run,
      result: "failed",
      code: error.code,
      error: errorText(error),
      failures: begun.failures + 1,
    };
  }

  /** Remembers a run, and stores it. A store that cannot write it does not stop the job: the next write has it again. */
  #keep(entry: Entry, run: JobRun): void {
    const { store, log } = this.#options;
    entry.last = run;
    void supervised({ log, unit: "state of a job", fields: { job: run.name } }, () => store.putJobRun(run));
  }

  #report(entry: Entry, { name: job, who, result, durationMs, code, error, detail }: JobRun): void {
    const { events } = this.#options;
    const ms = durationMs ?? 0;
    if (result === "ok" || result === "stopped")
      events.emit("job.finished", { job, who, result, ms, detail: detail ?? {} });
    else {
      const next = this.#nextOf(entry);
      const seconds = next === undefined ? null : Math.ceil(next / 1000);
      const failed: { code: ErrorCode; error: string } = { code: code ?? "daemon.bug", error: error ?? "" };
      events.emit("job.failed", { job, who, ...failed, ms, next: seconds });
    }
  }
}
