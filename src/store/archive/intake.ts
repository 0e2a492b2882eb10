/**
 * Mail on its way into the archive: complete business operations, asynchronous so that another engine than SQLite can
 * implement them. Used in the ingest process alone. The archive does not parse: it is given parse results, with how each
 * report is kept (model/counting.ts), and tells duplicates from new reports.
 */
import type { ErrorCode } from "../../lib/errors.ts";
import type { JudgedMail, Received } from "../../model/counting.ts";
import type { Outcome, Reason } from "../../model/outcome.ts";
import type { ItemResult, ReadHints } from "../../model/reading.ts";
import type { DsnReport } from "../../model/report.ts";

/** One accepted mail or imported file on its way to the ingest process. */
export interface Intake extends Received {
  readonly raw: Uint8Array;
  readonly hints: ReadHints;
  readonly envelopeFrom: string | null;
  readonly envelopeTo: readonly string[];
  readonly remoteIp: string | null;
  readonly remoteName: string | null;
  readonly tls: string | null;
}

/** What became of one intake; the wire form of `import --json` derives from it. */
export interface IntakeResult {
  /** Number of the mail in the archive (`m42`). */
  readonly mailId: number;
  readonly outcome: Outcome;
  readonly reason: Reason | null;
  readonly detail: string | null;
  readonly items: readonly ItemResult[];
  /** Numbers of the reports that were new (`r42`). */
  readonly reportIds: readonly number[];
  /** Delivery status notifications in the mail: the daemon finds its envelopes by them, */
  readonly dsns: readonly DsnReport[];
  /** and by the recipients of the mail. */
  readonly envelopeTo: readonly string[];
  /** The stack of the bug that stopped the parser, for the log. */
  readonly stack?: string;
}

/** A mail that is not parsed, and why: by a bug, or because it ended the parser. */
export interface Unparsable {
  readonly reason: Reason;
  readonly detail: string;
  /** Of the bug. */
  readonly stack?: string;
}

/** What is known of the content of a mail; null: it is parsed later. */
export type MailContent = JudgedMail | Unparsable | null;

/** One mail of a batch. */
export type PutItem =
  /** A new mail. Without content it is spooled: its bytes are stored, to be parsed later. */
  | { readonly intake: Intake; readonly content: MailContent }
  /**
   * The parse result of a stored mail: spooled before, or parsed again. Reports that it gave before are replaced; one with
   * the same key keeps its number, and records that have expired are not stored again. An unparsable mail keeps the
   * reports that it gave before.
   */
  | { readonly mailId: number; readonly content: JudgedMail | Unparsable };

/** A mail that was stored: with its outcome, or raw and to be parsed soon. */
export type Accepted =
  | {
      readonly spooled: false;
      readonly result: IntakeResult;
      /** It had been spooled before. */
      readonly wasSpooled?: true;
    }
  | { readonly spooled: true; readonly mailId: number };

/** A mail of which nothing was stored, and why. */
export interface NotStored {
  readonly error: { readonly code: ErrorCode; readonly detail: string };
}

/** Mail that is stored and not parsed yet. */
export interface SpoolState {
  readonly unparsed: number;
  /** Numbers of the first and the last such mail; null when there is none. */
  readonly oldest: number | null;
  readonly newest: number | null;
}

/** A stored mail that is to be parsed: its content, or why it must not be tried. */
export type StoredMail =
  | {
      readonly mailId: number;
      readonly spooled: boolean;
      readonly intake: Intake;
      /** An attempt to parse it did not end: it may be what ended the process, so nothing else is parsed beside it. */
      readonly attempted: boolean;
    }
  | { readonly mailId: number; readonly spooled: boolean; readonly unparsable: Unparsable };

export interface ArchiveIntake {
  /**
   * Stores a batch; the answers are in its order. Resolves after the commit, and nothing is lost after that. It alone
   * tells which reports are new, duplicates or conflicts; an authenticated report replaces one that anybody could have sent.
   * Mails of one batch share a transaction: when a bug stops one of them, each gets a transaction of its own, and that one
   * is kept raw with the reason `internal`. A mail with many records is stored after the others of its batch, in several
   * transactions, and becomes visible with the last one; other batches are stored in between. Of equal reports that are
   * stored at the same time, the first that becomes visible is the new one.
   * Errors: `store.*` when nothing of the batch was stored. An error in a transaction of one mail is the answer for that
   * mail (`archive.no_such_mail` for a stored mail that is gone; `daemon.stopping` when the archive is closed).
   */
  put(batch: readonly PutItem[]): Promise<readonly (Accepted | NotStored)[]>;
  /** What is spooled now. */
  spool(): Promise<SpoolState>;
  /**
   * Whether the mail that `takeSpooled` would give next has an attempt that did not end. Nothing else should be parsed when
   * it is taken: it may end the process. Errors: `store.*`.
   */
  isNextSuspect(): Promise<boolean>;
  /**
   * The spooled mails to be parsed next, oldest first, at most `limit`: an attempt to parse them begins, and is durable
   * when this resolves. A mail that was taken is not taken again before it was stored or given back. Large mails come alone,
   * and so do those with an attempt that did not end, for they may have ended the process. After three such attempts a mail
   * comes as unparsable, without its content. Empty: none is spooled that was not taken.
   * Errors: `store.*`.
   */
  takeSpooled(limit: number): Promise<readonly StoredMail[]>;
  /**
   * The attempt to parse these mails ended without a result, by an error of the store or because the parser stops: it was
   * no fault of theirs, and is not counted.
   */
  giveBack(mailIds: readonly number[]): Promise<void>;
  /** A stored mail; undefined when its bytes are gone. */
  load(mailId: number): Promise<StoredMail | undefined>;
}
