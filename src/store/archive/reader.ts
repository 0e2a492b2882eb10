/** Questions about the archive. */
import type { MessageAuth } from "../../model/message-auth.ts";
import type { Outcome, Reason, Warning, WarningCount } from "../../model/outcome.ts";
import type { PartInfo } from "../../model/reading.ts";
import type {
  DmarcHead,
  DmarcRecord,
  DsnRecipient,
  DsnReport,
  FeedbackReport,
  FeedbackSample,
  ReportKind,
  TlsHead,
  TlsPolicyResult,
} from "../../model/report.ts";
import type { RetentionPolicy } from "../../model/retention.ts";
import type { ArchiveSize, Expirable } from "./maintenance.ts";

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
  /** Reports that are stored, and their organisations; the sums above stay longer. */
  readonly reports: number;
  readonly reporters: number;
  /** Also of a report that has expired, as long as its sums are stored. */
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
  /** Counters for `show stats`: `archive.report.dmarc`, `archive.record`, `archive.message.pass`… of what is stored now. */
  stats(): Promise<Record<string, number>>;
  /** What retention would delete now. */
  expirable(now: number, policy: RetentionPolicy): Promise<Expirable>;
  size(): Promise<ArchiveSize>;
  close(): Promise<void>;
}
