/** What the rest of the daemon sees of the ingest process. */
import type { Accepted, Intake, IntakeResult, RetentionPolicy } from "../store/archive.ts";

/**
 * The supervised ingest process. `accept` resolves only after the archive has committed; it rejects with
 * MailreportError `store.busy`, `store.full`, `store.io` or `ingest.busy` (temporary: reply 4xx), and never loses
 * what it resolved for. When the process dies, unanswered mails are handed to the next one, one by one.
 */
export interface IngestPort {
  /** Reads before answering, unless the mail is large, many others wait, or reading is paused. */
  accept(intake: Intake): Promise<Accepted>;
  /** Reads before answering, whatever the size and whoever waits (import). */
  acceptAndParse(intake: Intake): Promise<IntakeResult>;
  reparse(mailIds: readonly number[]): Promise<IntakeResult[]>;
  expire(now: number, policy: RetentionPolicy, rows: number): Promise<number>;
  deleteReport(reportId: number): Promise<boolean>;
  backup(path: string): Promise<{ readonly bytes: number }>;
  vacuum(pages: number): Promise<number>;
  /** Stops reading spooled mail (`pause mda`); intake of small mails goes on raw. */
  pauseParsing(paused: boolean): void;
  /**
   * Waits until all mails that were accepted before are read, so that what is asked next knows them; at most `limitMs`,
   * and not while reading is paused. Undefined: nothing is unparsed.
   */
  allParsed(limitMs: number): Promise<void> | undefined;
  /** Mails waiting for an answer, and bytes. */
  readonly waiting: { readonly mails: number; readonly bytes: number };
  /** Mails that are stored, answered and not read yet. */
  readonly unparsed: number;
  /** Counters for `show stats`: `ingest.restarts`, `ingest.batches`, `ingest.mails`… */
  stats(): Record<string, number>;
  stop(): Promise<void>;
}
