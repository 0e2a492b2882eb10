/**
 * The interface between the parsers (format) and the sinks of their results: the staged parse result, or `check`, which
 * only counts. Records are passed one by one; there is never an array of all records.
 */
import type { Reason, WarningCount } from "./outcome.ts";
import type {
  DmarcHead,
  DmarcRecord,
  DsnReport,
  FeedbackReport,
  ReportFigures,
  ReportKind,
  TlsHead,
  TlsPolicyResult,
} from "./report.ts";

/** What became of a complete report; `refused`: by the recipient's kinds or the authentication policy. */
export type Kept = "new" | "duplicate" | "conflict" | "refused";

/** Receives one report. After `open`, exactly one of `close` and `abort` is called. */
export interface ReportWriter {
  record(record: DmarcRecord): void;
  policy(policy: TlsPolicyResult): void;
  /**
   * The report is complete.
   * @param figures totals and warnings
   * @param contentHash sha256 (hex) of the normalised content, equal for equal reports in any container or layout
   */
  close(figures: ReportFigures, contentHash: string): void;
  /** The report cannot be used: undo everything since `open`. */
  abort(): void;
}

/** Where a report lay in its mail. */
export interface PartInfo {
  /** File name of the attachment or archive entry, outside text, a label only. */
  readonly name: string | null;
  /** The declared media type, lower case. */
  readonly mediaType: string | null;
  /** Bytes before decoding and decompression. */
  readonly size: number;
}

export interface ReportSink {
  /** A DMARC or TLS report begins: its head is known, records or policies follow. */
  open(head: DmarcHead | TlsHead, part: PartInfo): ReportWriter;
  /** A whole failure, abuse or delivery status report. */
  whole(
    report: FeedbackReport | DsnReport,
    figures: ReportFigures,
    contentHash: string,
    part: PartInfo,
  ): void;
}

/** A report that could be parsed. */
export interface ParsedItem {
  readonly ok: true;
  readonly figures: ReportFigures;
  readonly part: PartInfo;
}

/** A part that should have been a report. */
export interface FailedItem {
  readonly ok: false;
  readonly kind: ReportKind | null;
  readonly reason: Reason;
  /** Place and value, outside text (e.g. "line 12: …"). */
  readonly detail: string | null;
  readonly part: PartInfo;
}

/** One report, or one part that should have been one, of a mail or file. */
export type ItemReading = ParsedItem | FailedItem;

/** The same, with what became of the report. */
export type ItemResult = (ParsedItem & { readonly kept: Kept }) | FailedItem;

/** The header fields of the report mail that we keep; decoded, cut to 1,000 characters, outside text. */
export interface MailHeaders {
  readonly from: string | null;
  readonly subject: string | null;
  readonly messageId: string | null;
  /** Epoch seconds. */
  readonly date: number | null;
  readonly autoSubmitted: string | null;
  readonly tlsReportDomain: string | null;
  readonly tlsReportSubmitter: string | null;
  /** How many Received fields. */
  readonly hops: number;
}

/** The result of parsing one mail or file. */
export interface MailReading {
  readonly headers: MailHeaders | null;
  readonly items: readonly ItemReading[];
  /** Warnings about the report mail itself. */
  readonly warnings: readonly WarningCount[];
  /** Why there is nothing at all, when `items` is empty: `no-report`, `auto-reply`, `empty`, `too-many-parts`… */
  readonly reason: Reason | null;
  readonly detail: string | null;
}

/** What the parser gets besides the bytes. */
export interface ReadHints {
  /** `mail`: RFC 5322; `file`: a report, container or saved mail, decided by content. */
  readonly form: "mail" | "file";
  /** Base name of the file, a hint for lost fields. */
  readonly fileName: string | null;
  /** Epoch seconds, for the future-range rule and missing dates. */
  readonly receivedAt: number;
}
