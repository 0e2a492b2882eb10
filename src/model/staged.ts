/**
 * The staged parse result: all that the parser found in one mail, before anything of it is stored. It has no ids of any
 * store and can be sent to another thread; its size is bounded by the parser.
 */
import type { PackedRecords } from "./packed-records.ts";
import type { FailedItem, MailReading, PartInfo } from "./reading.ts";
import type {
  DmarcHead,
  DsnReport,
  FeedbackReport,
  ReportFigures,
  TlsHead,
  TlsPolicyResult,
} from "./report.ts";

/** What a report says, by its kind. */
export type StagedContent =
  | { readonly kind: "dmarc"; readonly head: DmarcHead; readonly records: PackedRecords }
  | { readonly kind: "tls"; readonly head: TlsHead; readonly policies: readonly TlsPolicyResult[] }
  | { readonly kind: "failure" | "arf"; readonly head: FeedbackReport }
  | { readonly kind: "dsn"; readonly head: DsnReport };

/** One report of a mail. */
export interface StagedReport {
  readonly ok: true;
  readonly figures: ReportFigures;
  readonly part: PartInfo;
  /** sha256 (hex) of the normalised content, equal for equal reports in any container or layout. */
  readonly contentHash: string;
  readonly content: StagedContent;
}

/** What was parsed from one mail or file. */
export interface StagedMail extends Omit<MailReading, "items"> {
  readonly items: readonly (StagedReport | FailedItem)[];
}

/** The domains that a report is about; a DSN is about none. They are a part of the key of a report. */
export function domainsOf(content: StagedContent): readonly string[] {
  switch (content.kind) {
    case "dmarc":
      return [content.head.policy.domain];
    case "tls":
      return [
        ...new Set(content.policies.map((p) => p.policyDomain).filter((domain) => domain !== null)),
      ].sort();
    case "dsn":
      return [];
    default:
      return content.head.reportedDomains;
  }
}
