/** What the routes need of the daemon; made in daemon.ts, faked in tests. */

import type { EnvelopeOperations } from "../deliver/operations.ts";
import type { ErrorCode, MailreportError } from "../lib/errors.ts";
import type { Log, LogLevel } from "../lib/log/log.ts";
import type { JobDetail, JobRun, JobStatus } from "../model/jobs.ts";
import type { OutgoingReport } from "../model/outgoing.ts";
import type { Subsystem } from "../model/queue.ts";
import type { IntakeResult } from "../store/archive/intake.ts";
import type { ArchiveReader, ReceivedMail } from "../store/archive/reader.ts";
import type { QueueStore, RestoredReport } from "../store/queue.ts";

/** What became of a batch of a feed; of a dry run what would become of it. */
export interface FeedReply {
  readonly accepted: number;
  /** Of the accepted: counted before by id. A dry run does not know them. */
  readonly repeated: number;
  readonly rejected: number;
  readonly errors: readonly { readonly line: number; readonly reason: string }[];
}

export interface OutgoingService {
  find(typed: string): OutgoingReport;
  send(
    typed: string,
  ): Promise<
    | { readonly sent: true; readonly id: string; readonly messageIds: readonly string[] }
    | { readonly sent: false; readonly id: string; readonly why: string }
  >;
  /** What `send` would do. */
  planSend(
    typed: string,
  ): Promise<
    | { readonly id: string; readonly end: number; readonly to: readonly string[] }
    | { readonly sent: false; readonly id: string; readonly why: string }
  >;
  preview(typed: string): Promise<Uint8Array>;
  explain(typed: string): Promise<{
    readonly report: OutgoingReport;
    readonly checks: readonly { readonly check: string; readonly ok: boolean; readonly detail: string }[];
    readonly verdict: string;
  }>;
  /** With `dryRun` these change nothing and tell what they would do. */
  cancel(typed: string, dryRun?: boolean): OutgoingReport;
  undelete(typed: string, dryRun?: boolean): RestoredReport;
  hold(typed: string, held: boolean, dryRun?: boolean): boolean;
  /** @param at epoch seconds */
  schedule(typed: string, at: number, dryRun?: boolean): boolean;
}

export interface ReloadAnswer {
  readonly ok: boolean;
  /** Why it was refused. */
  readonly code?: ErrorCode;
  readonly applied: readonly string[];
  readonly needsRestart: readonly string[];
  readonly problems: readonly string[];
}

export interface StatusAnswer {
  readonly version: string;
  readonly pid: number;
  /** Epoch seconds. */
  readonly startedAt: number;
  readonly hostname: string;
  /** Accepted mails that are not parsed yet; lists and figures do not contain their reports. */
  readonly unparsed: number;
  readonly subsystems: Readonly<
    Record<Subsystem, { readonly state: "running" | "paused" | "waiting"; readonly detail: string }>
  >;
}

/** Maintenance of archive.db and queue.db. */
export interface DatabaseService {
  backup(folder: string): Promise<readonly { readonly path: string; readonly bytes: number }[]>;
  /** The damage that was found; empty when integrity is ok. */
  check(): Promise<readonly string[]>;
  /** Returns the bytes given back to the file system. */
  vacuum(): Promise<number>;
  /** Runs the job `retention` now. Errors: `job.running`, those of the run. */
  prune(dryRun: boolean): Promise<JobDetail>;
  stats(): Promise<Record<string, unknown>>;
}

/** Periodic jobs. */
export interface JobService {
  list(): readonly JobStatus[];
  /**
   * Runs a job now; resolves at its end, with its error when it failed.
   * Errors, at once: `job.unknown`, `job.running`, `daemon.stopping`.
   */
  run(
    name: string,
    who: string,
  ): Promise<{ readonly run: JobRun; readonly failure: { readonly error: MailreportError } | null }>;
  /** What a run would do. Errors: `job.unknown`, `job.no_dry_run`, those of the job. */
  dryRun(name: string): Promise<JobDetail>;
}

export interface Services {
  readonly log: Log;
  readonly queue: QueueStore;
  /** What operators do to envelopes and to the suppression list. */
  readonly envelopes: EnvelopeOperations;
  readonly archive: ArchiveReader;
  readonly outgoing: OutgoingService;
  /**
   * Parses and stores one file or mail.
   * Errors: MailreportError `store.*`, `ingest.busy`, `ingest.unavailable`, `daemon.stopping`.
   */
  importOne(item: {
    readonly raw: Uint8Array;
    readonly fileName: string | null;
    readonly form: "mail" | "file";
  }): Promise<IntakeResult>;
  reparse(mails: readonly ReceivedMail[]): Promise<readonly IntakeResult[]>;
  /**
   * Waits until mail that was accepted before is parsed: a second at most, or with `all` until nothing is left (not
   * while parsing is paused). Returns the number of those mails that are not parsed yet.
   */
  parsed(all: boolean): Promise<number>;
  /** Whether accepted mail is parsed at present. */
  parsing(): "running" | "paused" | "failing";
  /** Resolves after `ms` milliseconds. */
  wait(ms: number): Promise<void>;
  /** Names of all feeds: those of the configuration, and `control`. */
  feeds(): readonly string[];
  /**
   * Counts one batch of a feed; a dry run only parses it. Line numbers begin at `firstLine`.
   * Errors: MailreportError `store.*`; then nothing of the batch was counted.
   */
  feed(name: string, lines: readonly string[], firstLine: number, dryRun: boolean): FeedReply;
  stats(): Promise<Record<string, number>>;
  status(): StatusAnswer;
  /** True when it changed something. */
  pause(subsystem: Subsystem, destination: string | null, who: string, reason: string | null): boolean;
  resume(subsystem: Subsystem, destination: string | null, who: string, reason: string | null): boolean;
  /** Notes what an operator changed, in the log and the audit table. The change is made: no error of the store is thrown. */
  audit(command: string, detail: Readonly<Record<string, unknown>>): void;
  readonly databases: DatabaseService;
  readonly jobs: JobService;
  /** Reads the configuration again and applies it; a dry run checks it and returns what would be applied. */
  reload(dryRun: boolean): Promise<ReloadAnswer>;
  stop(): void;
  setLogLevel(level: LogLevel): void;
  /** Epoch seconds. */
  now(): number;
}
