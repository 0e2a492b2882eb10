/** What the rest of the daemon sees of the ingest process. */
import type { ArchiveWriter, Intake, IntakeResult, RetentionPolicy } from "../store/archive.ts";

/** The answer to an accepted mail: committed with its outcome, or committed raw and read soon. */
export type Accepted =
  | { readonly spooled: false; readonly result: IntakeResult }
  | { readonly spooled: true; readonly mailId: number };

/**
 * The supervised ingest process. `accept` resolves only after the archive has committed; it rejects with
 * MailreportError `store.busy`, `store.full`, `store.io` or `ingest.busy` (temporary: reply 4xx), and never loses
 * what it resolved for. When the process dies, unanswered mails are handed to the next one, one by one.
 */
export interface IngestPort {
  accept(intake: Intake): Promise<Accepted>;
  /** Reads before answering, whatever the size (import). */
  acceptAndRead(intake: Intake): Promise<IntakeResult>;
  reparse(mailIds: readonly number[]): Promise<IntakeResult[]>;
  expire(now: number, policy: RetentionPolicy, rows: number): Promise<number>;
  deleteReport(reportId: number): Promise<boolean>;
  backup(path: string): Promise<{ readonly bytes: number }>;
  vacuum(pages: number): Promise<number>;
  /** Stops reading spooled mail (`pause mda`); intake of small mails goes on raw. */
  pauseReading(paused: boolean): void;
  /** Mails waiting for an answer, and bytes. */
  readonly waiting: { readonly mails: number; readonly bytes: number };
  /** Counters for `show stats`: `ingest.restarts`, `ingest.batches`, `ingest.mails`… */
  stats(): Record<string, number>;
  stop(): Promise<void>;
}

export type { ArchiveWriter };
