/**
 * Mail on its way into the archive: complete business operations, asynchronous so that another engine than SQLite can
 * implement them. Used in the ingest process alone.
 */
import type { ErrorCode } from "../../lib/errors.ts";
import type { ReceivePolicy } from "../../model/counting.ts";
import type { MessageAuth } from "../../model/message-auth.ts";
import type { Outcome, Reason } from "../../model/outcome.ts";
import type { ItemReading, MailReading, ReadHints, ReportSink } from "../../model/reading.ts";
import type { DsnReport, ReportKind } from "../../model/report.ts";
import type { RetentionPolicy } from "./maintenance.ts";

/** One accepted mail or imported file on its way to the ingest process. */
export interface Intake {
  readonly raw: Uint8Array;
  readonly hints: ReadHints;
  /** smtp, lmtp, import, imap. */
  readonly source: string;
  readonly envelopeFrom: string | null;
  readonly envelopeTo: readonly string[];
  readonly remoteIp: string | null;
  readonly remoteName: string | null;
  readonly tls: string | null;
  readonly auth: MessageAuth;
  /** Kinds of report that the recipient address accepts; empty = any. */
  readonly kinds: readonly ReportKind[];
}

/** What became of one intake; the wire form of `import --json` derives from it. */
export interface IntakeResult {
  /** Number of the mail in the archive (`m42`). */
  readonly mailId: number;
  readonly outcome: Outcome;
  readonly reason: Reason | null;
  readonly detail: string | null;
  readonly items: readonly ItemReading[];
  /** Numbers of the reports that were new (`r42`). */
  readonly reportIds: readonly number[];
  /** Delivery status notifications in the mail: the daemon finds its envelopes by them, */
  readonly dsns: readonly DsnReport[];
  /** and by the recipients of the mail. */
  readonly envelopeTo: readonly string[];
  /** The stack of the bug that stopped the parser, for the log. */
  readonly stack?: string;
}

/** A mail on its way into the archive. */
export interface IntakeRequest {
  readonly intake: Intake;
  /** False: its bytes are stored, state `spooled`, and parsed later. */
  readonly parseNow: boolean;
}

/** A mail that was stored: with its outcome, or raw and to be parsed soon. */
export type Accepted =
  | { readonly spooled: false; readonly result: IntakeResult }
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

/** Parses one mail into a sink; handed to the writer, so that store/ knows no formats. */
export type ReadMail = (raw: Uint8Array, hints: ReadHints, sink: ReportSink) => MailReading;

export interface ArchiveWriter {
  /** Applies to all mail from now on. */
  setPolicy(policy: ReceivePolicy): void;
  /** Mails that are stored and not parsed yet. */
  readonly unparsed: number;
  readonly spool: SpoolState;
  /** How long a commit takes at present, its sync included, milliseconds. */
  readonly commitMs: number;
  /**
   * Parses and stores a batch in one transaction. When one of its mails cannot be parsed or stored because of a bug, each
   * mail gets a transaction of its own, and that one is kept raw with the reason `internal`. Resolves after the commit.
   * Errors: `store.*` when nothing was stored. A store error in a transaction of one mail is the answer for that mail.
   */
  intake(batch: readonly IntakeRequest[], read: ReadMail): Promise<(Accepted | NotStored)[]>;
  /**
   * Parses spooled mail, oldest first, at most `limit` mails in one transaction. Large mails are parsed alone, and so are
   * those with an attempt that did not end, for they may have ended the process. After three such attempts a mail is set
   * aside as `internal`. An attempt that ends by an error of the store is not counted. Empty: no mail is spooled.
   * Errors: `store.*`; the mails stay spooled.
   */
  parseSpooled(read: ReadMail, limit: number): Promise<IntakeResult[]>;
  /** Keeps a mail raw, with the reason why it is not parsed. */
  quarantine(intake: Intake, reason: Reason, detail: string): Promise<number>;
  /**
   * Parses stored raw mails again and replaces their reports. A report with the same key keeps its number, and records
   * that have expired are not stored again. When a bug stops the parser, what the mail gave before stays, and its result
   * is `internal`. A mail whose bytes are gone is left out.
   * @param onSpooled called after the commit of a mail that had not been parsed before: as after `parseSpooled`, what
   * follows from its reports is not done yet
   */
  reparse(
    mailIds: readonly number[],
    read: ReadMail,
    onSpooled?: (result: IntakeResult) => void,
  ): Promise<IntakeResult[]>;
  /** One slice of retention; returns deleted rows, 0 when there is nothing left to do. */
  expire(now: number, policy: RetentionPolicy, rows: number): Promise<number>;
  /** Online copy to a new file; a copy that fails leaves no file. Other work goes on meanwhile. Errors: `store.*`. */
  backup(path: string): Promise<{ readonly bytes: number }>;
  /** Gives up to `pages` unused pages back; returns how many are left. */
  vacuum(pages: number): Promise<number>;
  checkpoint(): void;
  close(): void;
}
