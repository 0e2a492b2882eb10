/** The ingest process as the rest of the daemon sees it. */
import type { RetentionPolicy } from "../model/retention.ts";
import type { Accepted, Intake, IntakeResult } from "../store/archive/intake.ts";
import type { ExpirySlice } from "../store/archive/maintenance.ts";

/**
 * The supervised ingest process. `accept` resolves only after the archive has committed. It rejects with MailreportError
 * `store.busy`, `store.full`, `store.io` or `ingest.busy` (temporary: reply 4xx), also while the archive cannot be opened.
 * When the process dies, unanswered mails are handed to the next one, one by one.
 */
export interface IngestPort {
  /** Parses before it answers, unless the mail is much work, in a burst, or while parsing is paused. */
  accept(intake: Intake): Promise<Accepted>;
  /** Parses before it answers, whatever the size and the load (import). */
  acceptAndParse(intake: Intake): Promise<IntakeResult>;
  reparse(mailIds: readonly number[]): Promise<IntakeResult[]>;
  expire(now: number, policy: RetentionPolicy, rows: number): Promise<ExpirySlice>;
  vacuum(pages: number): Promise<number>;
  /** Stops parsing spooled mail (`pause mda`); small mails are then accepted without being parsed. */
  pauseParsing(paused: boolean): void;
  /**
   * Waits until all mails that were accepted before are parsed, so that the answer to a question contains them. Resolves
   * with the number of those that are still unparsed: 0 = all are parsed. It resolves at once while parsing is paused or
   * failing (see `parsing`), and after `limitMs` milliseconds (may be Infinity).
   */
  allParsed(limitMs: number): Promise<number>;
  /** Mails waiting for an answer, and bytes. */
  readonly waiting: { readonly mails: number; readonly bytes: number };
  /** Mails that are stored, answered and not parsed yet. */
  readonly unparsed: number;
  /** Whether spooled mail is parsed; `failing`: the archive cannot be opened or written. */
  readonly parsing: "running" | "paused" | "failing";
  /** Counters for `show stats`: `ingest.restarts`, `ingest.batches`, `ingest.mails`… */
  stats(): Record<string, number>;
  stop(): Promise<void>;
}
