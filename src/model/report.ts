/**
 * Received reports: the union of all fields of RFC 9990, RFC 7489, RFC 8460, RFC 9991/6591/5965 and RFC 3464.
 * Times are epoch seconds UTC. Where a value was normalised, what was sent stands beside it as `raw`.
 * Everything here is outside text: escape it at every sink.
 */
import type { WarningCount } from "./outcome.ts";

export const REPORT_KINDS = ["dmarc", "tls", "failure", "arf", "dsn"] as const;
export type ReportKind = (typeof REPORT_KINDS)[number];

/** RFC 9990 3.1.1.9; `unknown` for words that no schema has. */
export type Disposition = "none" | "pass" | "quarantine" | "reject" | "unknown";
/** The aligned DMARC result of a record; never `pass` unless the reporter said pass. */
export type Evaluated = "pass" | "fail" | "unknown";

/** RFC 8601 2.7.1 and 2.7.2 result words (SPF knows softfail, DKIM does not). */
export type AuthResultWord =
  | "none"
  | "pass"
  | "fail"
  | "softfail"
  | "policy"
  | "neutral"
  | "temperror"
  | "permerror"
  | "unknown";

export interface OverrideReason {
  /** Normalised, RFC 9990 3.1.6 and RFC 7489 words; others are `other` with `raw`. */
  readonly type:
    | "forwarded"
    | "sampled_out"
    | "trusted_forwarder"
    | "mailing_list"
    | "local_policy"
    | "policy_test_mode"
    | "other";
  readonly comment: string | null;
  readonly lang?: string;
  readonly raw?: string;
}

export interface DkimAuthResult {
  readonly domain: string | null;
  readonly selector: string | null;
  readonly result: AuthResultWord;
  readonly humanResult?: string;
  readonly raw?: string;
}

export interface SpfAuthResult {
  readonly domain: string | null;
  readonly scope: "mfrom" | "helo" | null;
  readonly result: AuthResultWord;
  readonly humanResult?: string;
  readonly raw?: string;
}

/** One `<record>` (RFC 9990 3.1.1.7). */
export interface DmarcRecord {
  /** Canonical text form (RFC 5952, v4-mapped as v4). */
  readonly sourceIp: string;
  readonly count: number;
  readonly disposition: Disposition;
  readonly dkim: Evaluated;
  readonly spf: Evaluated;
  readonly reasons: readonly OverrideReason[];
  readonly headerFrom: string;
  /** null = absent, "" = present and empty (the null sender). Never invented. */
  readonly envelopeFrom: string | null;
  readonly envelopeTo: string | null;
  readonly dkimResults: readonly DkimAuthResult[];
  readonly spfResults: readonly SpfAuthResult[];
  /** Namespaced extension elements, as XML text. */
  readonly extensions: string | null;
  /** field → what was sent, for normalised values of this record (e.g. disposition, dkim, spf, source_ip). */
  readonly raw: Readonly<Record<string, string>> | null;
}

/** `<policy_published>` (RFC 9990 3.1.1.5). null = absent or empty, never a default. */
export interface PublishedPolicy {
  readonly domain: string;
  readonly adkim: "r" | "s" | null;
  readonly aspf: "r" | "s" | null;
  readonly p: "none" | "quarantine" | "reject" | null;
  readonly sp: "none" | "quarantine" | "reject" | null;
  readonly np: "none" | "quarantine" | "reject" | null;
  readonly pct: number | null;
  readonly fo: string | null;
  readonly testing: "y" | "n" | null;
  readonly discoveryMethod: "psl" | "treewalk" | null;
  readonly versionPublished: string | null;
  /** field → what was sent, for normalised values. */
  readonly raw: Readonly<Record<string, string>> | null;
}

export interface TextWithLang {
  readonly text: string;
  readonly lang: string | null;
}

/** What is known of a DMARC report before its records. */
export interface DmarcHead {
  readonly kind: "dmarc";
  readonly orgName: string;
  readonly email: string | null;
  readonly extraContactInfo: TextWithLang | null;
  /** Clean; `reportIdRaw` is as sent when it differs. */
  readonly reportId: string;
  readonly reportIdRaw: string | null;
  readonly begin: number;
  readonly end: number;
  readonly errors: readonly TextWithLang[];
  readonly generator: string | null;
  readonly version: string | null;
  readonly namespace: string | null;
  readonly flavour: "draft" | "rfc7489" | "rfc9990";
  readonly policy: PublishedPolicy;
  readonly extensions: string | null;
}

/** One policy of a TLS report (RFC 8460 4.4). */
export interface TlsPolicyResult {
  readonly policyType: "sts" | "tlsa" | "no-policy-found" | "unknown";
  readonly policyTypeRaw: string | null;
  readonly policyStrings: readonly string[];
  readonly policyDomain: string | null;
  readonly mxHosts: readonly string[];
  readonly successes: number;
  readonly failures: number;
  readonly details: readonly TlsFailureDetail[];
}

export interface TlsFailureDetail {
  /** As in the registry (RFC 8460 4.3, 6.6), lower case; unknown words as sent. */
  readonly resultType: string;
  readonly sendingMtaIp: string | null;
  readonly receivingMxHostname: string | null;
  readonly receivingMxHelo: string | null;
  readonly receivingIp: string | null;
  readonly failedSessions: number;
  readonly additionalInformation: string | null;
  readonly failureReasonCode: string | null;
}

export interface TlsHead {
  readonly kind: "tls";
  readonly orgName: string;
  /** contact-info. */
  readonly email: string | null;
  readonly reportId: string;
  readonly reportIdRaw: string | null;
  readonly begin: number;
  readonly end: number;
}

/** A failure report (RFC 9991, 6591) or an abuse report (RFC 5965). One object, because the fields are one set. */
export interface FeedbackReport {
  readonly kind: "failure" | "arf";
  readonly feedbackType: string;
  readonly feedbackTypeRaw: string | null;
  readonly userAgent: string | null;
  readonly version: string | null;
  /** Arrival-Date, else Received-Date, else the mail's Date. */
  readonly arrivalDate: number;
  readonly sourceIp: string | null;
  readonly sourcePort: number | null;
  readonly incidents: number;
  readonly reportedDomains: readonly string[];
  readonly reportedUris: readonly string[];
  readonly reportingMta: string | null;
  readonly originalEnvelopeId: string | null;
  readonly originalMailFrom: string | null;
  readonly originalRcptTo: readonly string[];
  readonly authFailure: string | null;
  readonly identityAlignment: readonly string[] | null;
  readonly deliveryResult: string | null;
  readonly deliveryResultRaw: string | null;
  readonly dkimDomain: string | null;
  readonly dkimIdentity: string | null;
  readonly dkimSelector: string | null;
  readonly spfDns: readonly string[];
  readonly authenticationResults: readonly string[];
  /** Every field as sent, in order, unfolded. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** The sample: selected header fields of the reported message, and as much raw text as the limits keep. */
  readonly sample: FeedbackSample | null;
}

export interface FeedbackSample {
  readonly from: string | null;
  readonly to: string | null;
  readonly subject: string | null;
  readonly messageId: string | null;
  readonly date: string | null;
  /** The header block, cut at the limit. */
  readonly headers: string;
  /** The body, cut at `sample_body`; null when none is kept (default). */
  readonly body: string | null;
}

export interface DsnRecipient {
  readonly originalRecipient: string | null;
  readonly finalRecipient: string;
  readonly action: "failed" | "delayed" | "delivered" | "relayed" | "expanded" | "unknown";
  /** Enhanced status code `c.s.d`, or null. */
  readonly status: string | null;
  readonly remoteMta: string | null;
  readonly diagnostic: string | null;
  readonly lastAttempt: number | null;
  readonly willRetryUntil: number | null;
}

/** A delivery status notification (RFC 3464). */
export interface DsnReport {
  readonly kind: "dsn";
  readonly reportingMta: string | null;
  readonly originalEnvelopeId: string | null;
  readonly arrivalDate: number | null;
  /** Message-ID of the returned message, where it is there. */
  readonly originalMessageId: string | null;
  readonly structured: boolean;
  readonly recipients: readonly DsnRecipient[];
  /** Arrival-Date, else the mail's Date. */
  readonly date: number;
}

/** Figures of one report, the same for all kinds (the wire form of `check` and `import`). */
export interface ReportFigures {
  readonly kind: ReportKind;
  /** arf, failure: User-Agent; dsn: Reporting-MTA. */
  readonly orgName: string | null;
  readonly reportId: string | null;
  /** tls: the policies' domains, arf, failure: the Reported-Domain list; joined by commas. */
  readonly policyDomain: string | null;
  readonly begin: number | null;
  readonly end: number | null;
  /** Kept rows; tls: policies; arf, failure: 1; dsn: recipients. */
  readonly records: number;
  /** Sum of counts; tls: successes + failures; arf, failure: incidents; dsn: recipients. */
  readonly messages: number;
  /** Rows whose evaluated dkim or spf is pass; tls: successes; null for the other kinds. */
  readonly passMessages: number | null;
  readonly droppedRecords: number;
  readonly warnings: readonly WarningCount[];
}
