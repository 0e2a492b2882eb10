/** Shapes and constants of the control protocol that the client shares. No code, so that it starts fast. */

/** The version of the protocol; within it fields are only added. */
export const API_VERSION = 1;
export const API_HEADER = "mailreport-api";
/** Header of answers that are no lists: the number of accepted mails that are missing because they are not parsed yet. */
export const UNPARSED_HEADER = "mailreport-unparsed";
/** Header beside it: `paused` or `failing`, when they are not being parsed. */
export const PARSING_HEADER = "mailreport-parsing";

export interface WireError {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly detail?: unknown;
    readonly request_id?: string;
  };
}

/** The last line of every list. */
export interface WireEnd {
  readonly end: {
    readonly count: number;
    /** The cursor of the next page; null at the end. */
    readonly next: string | null;
    /** Number of accepted mails that are missing in the list because they are not parsed yet; absent for none. */
    readonly unparsed?: number;
    /** Why they are not being parsed; absent while they are. */
    readonly parsing?: "paused" | "failing";
    /** Why an import ended before its end. */
    readonly error?: { readonly code: string; readonly message: string };
  } & Readonly<Record<string, unknown>>;
}

const REPORT = [
  "id",
  "mail_id",
  "kind",
  "org_name",
  "report_id",
  "policy_domain",
  "begin",
  "end",
  "records",
  "messages",
  "pass_messages",
  "received_at",
  "auth",
  "auth_domain",
  "foreign",
  "counted",
  "warnings",
] as const;
const VERDICTS = ["messages", "pass", "fail", "unknown"] as const;

/** The fields of each list of the archive, in their order; they are the columns of an export, also of an empty one. */
export const FIELDS = {
  received: [
    "id",
    "received_at",
    "source",
    "envelope_from",
    "envelope_to",
    "remote_ip",
    "from",
    "subject",
    "message_id",
    "file_name",
    "size",
    "outcome",
    "reason",
    "detail",
    "auth",
    "auth_domain",
    "auth_by",
    "auth_detail",
    "reports",
    "raw_kept",
  ],
  reports: REPORT,
  tls: [
    ...REPORT,
    "tls_policy_type",
    "tls_policy_domain",
    "tls_policy_strings",
    "tls_mx_hosts",
    "tls_successes",
    "tls_failures",
    "tls_result_types",
  ],
  failures: [
    ...REPORT,
    "feedback_type",
    "arrival_at",
    "source_ip",
    "incidents",
    "auth_failure",
    "identity_alignment",
    "delivery_result",
    "dkim_domain",
    "dkim_selector",
    "spf_dns",
    "authentication_results",
    "reporting_mta",
    "original_mail_from",
    "original_rcpt_to",
    "reported_uris",
    "sample_from",
    "sample_to",
    "sample_subject",
    "sample_message_id",
    "sample_date",
  ],
  dsn: [
    ...REPORT,
    "arrival_at",
    "reporting_mta",
    "original_envelope_id",
    "original_message_id",
    "structured",
    "recipient",
    "original_recipient",
    "action",
    "status",
    "remote_mta",
    "diagnostic",
    "last_attempt_at",
    "will_retry_until",
  ],
  records: [
    "report",
    "auth",
    "counted",
    "org_name",
    "policy_domain",
    "begin",
    "end",
    "source_ip",
    "count",
    "disposition",
    "dkim",
    "spf",
    "reasons",
    "header_from",
    "envelope_from",
    "envelope_to",
    "dkim_results",
    "spf_results",
    "extensions",
    "raw",
  ],
  domains: [
    "domain",
    "policy",
    ...VERDICTS,
    "reports",
    "reporters",
    "last_report_at",
    "tls_sessions",
    "tls_failures",
  ],
  sources: [
    "source",
    ...VERDICTS,
    "dkim_pass",
    "spf_pass",
    "none",
    "quarantine",
    "reject",
    "first",
    "last",
    "domains",
  ],
  reporters: ["org_name", "reports", "repaired", "messages", "last_at", "warnings"],
  days: ["day", ...VERDICTS],
} as const;

/** An item of a list: all its fields, and no others. */
export type WireItem<L extends keyof typeof FIELDS> = Readonly<Record<(typeof FIELDS)[L][number], unknown>>;
