/** What the routes need of the daemon; made in daemon.ts, faked in tests. */

import type { LogLevel } from "../lib/log/log.ts";
import type { OutgoingReport } from "../model/outgoing.ts";
import type { Subsystem } from "../model/queue.ts";
import type { ArchiveReader, IntakeResult, ReceivedMail } from "../store/archive.ts";
import type { QueueStore, RestoredReport } from "../store/queue.ts";

export interface FeedReply {
  readonly accepted: number;
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
  readonly subsystems: Readonly<
    Record<Subsystem, { readonly state: "running" | "paused"; readonly detail: string }>
  >;
}

/** Looking after archive.db and queue.db. */
export interface DatabaseService {
  backup(folder: string): Promise<readonly { readonly path: string; readonly bytes: number }[]>;
  /** What is wrong; nothing when they are sound. */
  check(): Promise<readonly string[]>;
  /** Returns the bytes given back. */
  vacuum(): Promise<number>;
  prune(dryRun: boolean): Promise<Record<string, number>>;
  stats(): Promise<Record<string, unknown>>;
}

export interface Services {
  readonly queue: QueueStore;
  readonly archive: ArchiveReader;
  readonly outgoing: OutgoingService;
  /** Reads and keeps one file or mail. */
  importOne(item: {
    readonly raw: Uint8Array;
    readonly fileName: string | null;
    readonly form: "mail" | "file";
  }): Promise<IntakeResult>;
  reparse(mails: readonly ReceivedMail[]): Promise<readonly IntakeResult[]>;
  feed(name: string, lines: readonly string[], firstLine: number): FeedReply;
  stats(): Promise<Record<string, number>>;
  status(): StatusAnswer;
  /** True when it changed something. */
  pause(subsystem: Subsystem, destination: string | null, who: string, reason: string | null): boolean;
  resume(subsystem: Subsystem, destination: string | null): boolean;
  /** Notes what an operator changed, in the audit table and the log. */
  audit(command: string, detail: Readonly<Record<string, unknown>>): void;
  readonly databases: DatabaseService;
  /** Envelopes may be due. */
  wakeDelivery(): void;
  reload(): Promise<ReloadAnswer>;
  stop(): void;
  setLogLevel(level: LogLevel): void;
  /** Epoch seconds. */
  now(): number;
}
