/**
 * What a feed tells us, normalised: DMARC evaluations and TLS sessions. Domains are A-labels in lower case without
 * trailing dot, addresses canonical, times epoch seconds UTC.
 */
import type { AuthResultWord } from "./report.ts";

export type PolicyWord = "none" | "quarantine" | "reject";

/** The policy record an evaluation was made under (RFC 9989 4.7). Defaults are filled in, as RFC 9990 3.1.1.5 allows. */
export interface EvaluatedPolicy {
  readonly domain: string;
  readonly p: PolicyWord;
  readonly sp: PolicyWord | null;
  readonly np: PolicyWord | null;
  readonly adkim: "r" | "s";
  readonly aspf: "r" | "s";
  readonly fo: string;
  readonly testing: "y" | "n";
  readonly psd: "y" | "n" | "u";
  readonly discovery: "psl" | "treewalk" | null;
}

/** Override reasons that RFC 9990 3.1.6 knows. */
export type ReasonWord = "local_policy" | "mailing_list" | "other" | "policy_test_mode" | "trusted_forwarder";

/**
 * The part of an evaluation that is counted: equal rows are one tally. It becomes one `<record>`.
 * All members are in canonical order and form, so that equal rows have equal JSON.
 */
export interface DmarcRow {
  readonly sourceIp: string;
  readonly disposition: "none" | "pass" | "quarantine" | "reject";
  readonly dkimAligned: boolean;
  readonly spfAligned: boolean;
  readonly reasons: readonly { readonly type: ReasonWord; readonly comment: string | null }[];
  readonly headerFrom: string;
  /** "" is the null sender. */
  readonly envelopeFrom: string | null;
  readonly envelopeTo: string | null;
  readonly dkim: readonly {
    readonly domain: string;
    readonly selector: string;
    readonly result: Exclude<AuthResultWord, "softfail" | "unknown">;
    readonly humanResult: string | null;
  }[];
  readonly spf: {
    readonly domain: string;
    readonly result: Exclude<AuthResultWord, "unknown">;
    readonly humanResult: string | null;
  } | null;
}

export interface DmarcEvaluation {
  readonly kind: "dmarc";
  /** Idempotency key of the feeder, unique per feed for three days; null = counted each time. */
  readonly id: string | null;
  /** When the message was received, epoch seconds. */
  readonly time: number;
  readonly policy: EvaluatedPolicy;
  /** As published: raw URIs, a fallback when DNS is away at due time. */
  readonly rua: readonly string[];
  readonly row: DmarcRow;
  readonly count: number;
  /** Counted, but never the reason to send (mail to report addresses, null sender, our own reports). */
  readonly optional: boolean;
  readonly spam: boolean;
}

export const TLS_RESULT_TYPES = [
  "starttls-not-supported",
  "certificate-host-mismatch",
  "certificate-not-trusted",
  "certificate-expired",
  "validation-failure",
  "tlsa-invalid",
  "dnssec-invalid",
  "dane-required",
  "sts-policy-fetch-error",
  "sts-policy-invalid",
  "sts-webpki-invalid",
] as const;

export interface TlsDetailRow {
  readonly resultType: (typeof TLS_RESULT_TYPES)[number];
  readonly sendingMtaIp: string | null;
  readonly receivingMxHostname: string | null;
  readonly receivingMxHelo: string | null;
  readonly receivingIp: string | null;
  readonly additionalInformation: string | null;
  readonly failureReasonCode: string | null;
}

/** The identity of one policy of a TLS report; its sessions are counted by it. */
export interface TlsPolicyRow {
  readonly type: "sts" | "tlsa" | "no-policy-found";
  readonly domain: string;
  readonly strings: readonly string[];
  readonly mxHosts: readonly string[];
}

export interface TlsSessions {
  readonly kind: "tls";
  readonly id: string | null;
  readonly time: number;
  /** The policy domain whose TLSRPT record asked for the report. */
  readonly domain: string;
  /** The TLSRPT record as the MTA saw it; null when the feed does not say (looked up at due time). */
  readonly record: string | null;
  readonly policies: readonly {
    readonly policy: TlsPolicyRow;
    readonly success: number;
    readonly failure: number;
    readonly details: readonly { readonly detail: TlsDetailRow; readonly count: number }[];
  }[];
  /** The session carried a report (RFC 8460 3: such sessions are not the reason to send). */
  readonly optional: boolean;
}

export type FeedEvent = DmarcEvaluation | TlsSessions;
