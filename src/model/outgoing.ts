/** Outgoing reports: pending until composed or dropped. All times are epoch seconds UTC unless a name says `Ms`. */
import type { DmarcRow, EvaluatedPolicy, TlsDetailRow, TlsPolicyRow } from "./evaluation.ts";

export type OutgoingKind = "dmarc" | "tls";

/**
 * open: counts; due or not. held: an operator stopped it. composed: messages and envelopes exist.
 * dropped: will not be sent, with a reason.
 */
export const OUTGOING_STATES = ["open", "held", "composed", "dropped"] as const;
export type OutgoingState = (typeof OUTGOING_STATES)[number];

/** Why an outgoing report was dropped. */
export const DROP_REASONS = {
  "no-rua": "the policy domain asks for no reports",
  "no-usable-rua": "no report address can be used (malformed, unsupported scheme, not authorised)",
  unauthorised: "no outside report address has agreed",
  "optional-only": "only mail that must not cause a report",
  "spam-only": "only spam that passed DMARC",
  suppressed: "every report address is suppressed",
  unsigned: "there is no DKIM key to sign with",
  dns: "DNS did not answer for a day",
  expired: "older than the longest age to send",
  cancelled: "an operator cancelled it",
  local: "one of our own domains",
} as const;
export type DropReason = keyof typeof DROP_REASONS;

export interface OutgoingReport {
  /** `d!domain!policyhash16!begin` or `t!…`; see `outgoingId`. */
  readonly id: string;
  readonly kind: OutgoingKind;
  readonly policyDomain: string;
  readonly policyHash: string;
  /** First and last second covered. */
  readonly begin: number;
  readonly end: number;
  /** When it is to be composed. */
  readonly due: number;
  readonly state: OutgoingState;
  readonly dropReason: DropReason | null;
  /** Attempts at due time that found no answer in DNS. */
  readonly resolveAttempts: number;
  /** Compositions that failed by an error of ours since the last success; the next one is at `due`. */
  readonly failures: number;
  /** Why it waits: what DNS said, or the error of the composition. */
  readonly lastError: string | null;
  /** Tallies and the messages or sessions that they count; kept after composing for the lists. */
  readonly rows: number;
  readonly messages: number;
  /** Of these, counted by non-optional evaluations. */
  readonly reportable: number;
  /** Of the reportable, not spam that passed DMARC. */
  readonly wanted: number;
  /** Counts no more: being composed, cut short, composed or dropped. */
  readonly closed: boolean;
  /** Dropped, and its tallies are still there: it can be brought back. */
  readonly restorable: boolean;
  readonly lateEvents: number;
  readonly createdAt: number;
  readonly composedAt: number | null;
  readonly droppedAt: number | null;
  /** Message ids of the composed messages. */
  readonly messageIds: readonly string[];
}

/** The policy data stored with an outgoing report. */
export type OutgoingPolicy =
  | { readonly kind: "dmarc"; readonly policy: EvaluatedPolicy; readonly rua: readonly string[] }
  | { readonly kind: "tls"; readonly record: string | null };

export type TallyRow =
  | { readonly kind: "dmarc"; readonly row: DmarcRow; readonly count: number }
  | {
      readonly kind: "tls";
      readonly policy: TlsPolicyRow;
      readonly success: number;
      readonly failure: number;
      readonly details: readonly { readonly detail: TlsDetailRow; readonly count: number }[];
    };

/** Rows of a report. They may be decoded one by one as they are iterated, and again each time; an array is one, too. */
export interface TallyRows<T extends TallyRow = TallyRow> extends Iterable<T> {
  readonly length: number;
  slice(begin: number, end: number): TallyRows<T>;
}

/** The sums of a report at one time: two that are equal mean that nothing was counted in between. */
export interface TallySums {
  readonly rows: number;
  readonly messages: number;
}

/** `d!example.net!9c1f7a5e02b4d816!1795132800`: kind letter, policy domain, 16 hex of the policy hash, begin. */
export function outgoingId(kind: OutgoingKind, domain: string, policyHash: string, begin: number): string {
  return `${kind === "dmarc" ? "d" : "t"}!${domain}!${policyHash}!${begin}`;
}

const OUTGOING_ID = /^([dt])[!:]([a-z0-9._-]{1,253})(?:[!:]([0-9a-f]{16})(?:[!:](\d{1,11}))?)?$/i;

/**
 * Parses an outgoing report id as people type it: `!` or `:` between the parts; hash and begin may be left out where
 * the rest is unique. Undefined when the text is none.
 */
export function parseOutgoingId(
  text: string,
): { kind: OutgoingKind; domain: string; policyHash: string | null; begin: number | null } | undefined {
  const match = OUTGOING_ID.exec(text);
  if (!match) return undefined;
  return {
    kind: match[1]!.toLowerCase() === "d" ? "dmarc" : "tls",
    domain: match[2]!.toLowerCase(),
    policyHash: match[3]?.toLowerCase() ?? null,
    begin: match[4] === undefined ? null : Number(match[4]),
  };
}
