/**
 * The archive: accepted mail and received reports. Its interfaces are complete business operations, asynchronous so that
 * another engine than SQLite can implement them. `ArchiveWriter` is used in the ingest process alone; `ArchiveReader`
 * anywhere (in the daemon it is a worker thread with a read-only connection).
 */
import type { ErrorCode } from "../lib/errors.ts";
import type { Outcome, Reason, Warning, WarningCount } from "../model/outcome.ts";
import type { ItemReading, MailReading, PartInfo, ReadHints, ReportSink } from "../model/reading.ts";
import type {
  DmarcHead,
  DmarcRecord,
  DsnRecipient,
  DsnReport,
  FeedbackReport,
  FeedbackSample,
  ReportFigures,
  ReportKind,
  TlsHead,
  TlsPolicyResult,
} from "../model/report.ts";

/** How the report mail was authenticated (RFC 8601 words; `none` = not checked or nothing to check). */
export interface MessageAuth {
  readonly verdict: "pass" | "fail" | "none" | "temperror";
  /** The author domain (of From), which a pass stands for; null when there is none, or more than one. */
  readonly domain: string | null;
  /** d= domains of valid DKIM signatures, aligned or not. */
  readonly dkimDomains: readonly string[];
  /**
   * The same question for TLS reports: pass only with a valid DKIM signature of the author domain, by a key that
   * allows the service `tlsrpt` (RFC 8460 3).
   */
  readonly tls: "pass" | "fail" | "none" | "temperror";
  /** Who said so: `own` or the authserv-id of a trusted server. */
  readonly by: string | null;
  readonly detail: string | null;
}

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

/** Which reports are kept and counted; from the configuration. */
export interface ReceivePolicy {
  /** Our policy domains; empty: all are ours. */
  readonly domains: readonly string[];
  readonly requireAuth: Readonly<Record<ReportKind, "off" | "flag" | "reject">>;
  /** Kinds whose reports count though their mail was not authenticated. */
  readonly countUnverified: readonly ReportKind[];
  /** Report mails are verified (by us or a trusted server), so that `none` means a failure to authenticate. */
  readonly verifies: boolean;
}

/** The verdict that counts for a kind of report: TLS reports need DKIM (RFC 8460 3), all others what DMARC needs. */
export function authFor(kind: ReportKind, auth: MessageAuth): MessageAuth["verdict"] {
  return kind === "tls" ? auth.tls : auth.verdict;
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

/** Seconds to keep, from the time when a mail or report was received. */
export interface RetentionPolicy {
  readonly raw: number;
  readonly failedRaw: number;
  readonly records: number;
  readonly feedback: number;
}

// ---------------------------------------------------------------- questions

/** Filters of all lists; windows are half-open [since, until) on overlap of the report range, epoch seconds. */
export interface ArchiveFilter {
  readonly kind?: ReportKind;
  readonly domain?: string;
  readonly org?: string;
  readonly source?: string;
  readonly result?: "pass" | "fail" | "unknown";
  readonly since?: number;
  readonly until?: number;
  readonly warning?: Warning;
  /** `failed`: all outcomes that a later version may improve; `spooled`: not parsed yet. */
  readonly outcome?: Outcome | "failed" | "spooled";
  readonly reason?: Reason;
  /** Include reports of foreign domains and unverified ones in figures. */
  readonly all?: boolean;
}

export interface ArchivePage {
  readonly limit: number;
  readonly after?: string;
}

export interface ArchivePaged<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** One accepted mail or imported file. */
export interface ReceivedMail {
  readonly id: string;
  readonly receivedAt: number;
  readonly source: string;
  readonly envelopeFrom: string | null;
  readonly envelopeTo: readonly string[];
  readonly remoteIp: string | null;
  readonly from: string | null;
  readonly subject: string | null;
  readonly messageId: string | null;
  readonly fileName: string | null;
  readonly size: number;
  readonly outcome: Outcome | "spooled";
  readonly reason: Reason | null;
  readonly detail: string | null;
  readonly auth: MessageAuth["verdict"];
  readonly authDomain: string | null;
  /** `own` or the authserv-id of a trusted server; null when nothing was checked. */
  readonly authBy: string | null;
  /** What was found, as text. */
  readonly authDetail: string | null;
  readonly reports: readonly string[];
  readonly rawKept: boolean;
}

/** A received report in lists. */
export interface ReceivedReport {
  readonly id: string;
  readonly mailId: string;
  readonly kind: ReportKind;
  readonly orgName: string;
  readonly reportId: string;
  readonly policyDomain: string | null;
  readonly begin: number;
  readonly end: number;
  readonly records: number;
  readonly messages: number;
  readonly passMessages: number | null;
  readonly receivedAt: number;
  readonly auth: MessageAuth["verdict"];
  readonly authDomain: string | null;
  readonly foreign: boolean;
  /** False: left out of the figures (foreign, or not authenticated). */
  readonly counted: boolean;
  readonly warnings: readonly WarningCount[];
}

export type ReportDetail = ReceivedReport & {
  /** Where it lay in its mail: labels of the attachment or archive entry, outside text. */
  readonly part: PartInfo;
  readonly head: DmarcHead | TlsHead | FeedbackReport | DsnReport;
};

/** One policy of a TLS report; a report without policies is one row. */
export interface TlsRow {
  readonly report: ReceivedReport;
  readonly policy: Omit<TlsPolicyResult, "details"> | null;
  /** Failed sessions by result type, most first. */
  readonly resultTypes: readonly { readonly resultType: string; readonly sessions: number }[];
}

/** A failure or abuse report without the reported message: of its header only From, To, Subject, Message-ID and Date. */
export interface FeedbackRow {
  readonly report: ReceivedReport;
  readonly feedback: Omit<FeedbackReport, "fields" | "sample">;
  readonly sample: Omit<FeedbackSample, "headers" | "body"> | null;
}

/** One recipient of a delivery status notification; one without recipients is one row. */
export interface DeliveryRow {
  readonly report: ReceivedReport;
  readonly dsn: Omit<DsnReport, "recipients">;
  readonly recipient: DsnRecipient | null;
}

export interface StoredRecord extends DmarcRecord {
  /** Of the report mail; `counted`: whether the report is in the figures. */
  readonly auth: MessageAuth["verdict"];
  readonly counted: boolean;
  readonly reportId: string;
  readonly org: string;
  readonly begin: number;
  readonly end: number;
  readonly policyDomain: string;
}

export interface DomainSummary {
  readonly domain: string;
  readonly policy: string | null;
  readonly messages: number;
  readonly pass: number;
  readonly fail: number;
  readonly unknown: number;
  readonly reports: number;
  readonly reporters: number;
  readonly lastReportAt: number | null;
  readonly tlsSessions: number;
  readonly tlsFailures: number;
}

export interface SourceSummary {
  readonly source: string;
  readonly messages: number;
  readonly pass: number;
  readonly dkimPass: number;
  readonly spfPass: number;
  readonly fail: number;
  /** Neither passed, and at least one result is not known. */
  readonly unknown: number;
  readonly none: number;
  readonly quarantine: number;
  readonly reject: number;
  /** Begin of the first and end of the last report that names it, within the window. */
  readonly first: number;
  readonly last: number;
  readonly domains: number;
}

/** How often one parse warning came in the reports of a reporter. */
export interface ReporterWarning extends WarningCount {
  /** Reports with it; `count` is how often it came in them. */
  readonly reports: number;
}

/** One organisation and the parse warnings of its reports. */
export interface ReporterSummary {
  readonly org: string;
  readonly reports: number;
  /** Reports with any warning. */
  readonly repaired: number;
  readonly messages: number;
  readonly last: number;
  readonly warnings: readonly ReporterWarning[];
}

export interface DayFigures {
  /** Begin of the UTC day. */
  readonly day: number;
  readonly messages: number;
  readonly pass: number;
  readonly fail: number;
  readonly unknown: number;
}

/** How much has expired and can be deleted. */
export type Expirable = Readonly<Record<"raw_mails" | "feedback_reports" | "reports_with_records", number>>;

/** Pages and bytes of the archive. */
export interface ArchiveSize {
  readonly page_size: number;
  readonly pages: number;
  readonly free_pages: number;
  readonly raw_mails: number;
  readonly raw_bytes: number;
}

/** Questions about the archive. Every method may be slow: an implementation does not run on the main thread. */
export interface ArchiveReader {
  received(filter: ArchiveFilter, page: ArchivePage): Promise<ArchivePaged<ReceivedMail>>;
  receivedMail(id: string): Promise<ReceivedMail | undefined>;
  rawMail(id: string): Promise<Uint8Array | undefined>;
  reports(filter: ArchiveFilter, page: ArchivePage): Promise<ArchivePaged<ReceivedReport>>;
  report(id: string): Promise<ReportDetail | undefined>;
  records(
    filter: ArchiveFilter & { readonly reportId?: string },
    page: ArchivePage,
  ): Promise<ArchivePaged<StoredRecord>>;
  tlsPolicies(reportId: string): Promise<readonly TlsPolicyResult[]>;
  /** Received TLS reports, policy by policy. */
  tls(filter: ArchiveFilter, page: ArchivePage): Promise<ArchivePaged<TlsRow>>;
  /** Failure reports, or abuse reports when the filter's kind is `arf`. */
  feedback(filter: ArchiveFilter, page: ArchivePage): Promise<ArchivePaged<FeedbackRow>>;
  /** Delivery status notifications, recipient by recipient. */
  deliveries(filter: ArchiveFilter, page: ArchivePage): Promise<ArchivePaged<DeliveryRow>>;
  domains(filter: ArchiveFilter): Promise<readonly DomainSummary[]>;
  sources(filter: ArchiveFilter, limit: number): Promise<readonly SourceSummary[]>;
  reporters(filter: ArchiveFilter): Promise<readonly ReporterSummary[]>;
  days(filter: ArchiveFilter): Promise<readonly DayFigures[]>;
  /** Counters for `show stats`: `archive.report.dmarc`, `archive.record`, `archive.message.pass`… */
  stats(): Promise<Record<string, number>>;
  /** What retention would delete now. */
  expirable(now: number, policy: RetentionPolicy): Promise<Expirable>;
  size(): Promise<ArchiveSize>;
  close(): Promise<void>;
}

export type { ReportFigures };
