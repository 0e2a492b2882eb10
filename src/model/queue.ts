/** The queue of messages: one message per rua address, one envelope per recipient. Times are epoch seconds UTC. */

import type { OutgoingKind } from "./outgoing.ts";
import type { Subsystem } from "./subsystems.ts";

/**
 * pending: due at `nextAt`. inflight: leased to a running attempt. held: an operator stopped it.
 * The others are final and kept for `deliver.keep_settled`: delivered, failed (permanent error, or a bounce after the
 * delivery), expired, removed.
 */
export const ENVELOPE_STATES = [
  "pending",
  "inflight",
  "held",
  "delivered",
  "failed",
  "expired",
  "removed",
] as const;
export type EnvelopeState = (typeof ENVELOPE_STATES)[number];

/** States that an envelope does not leave by itself. */
export function isFinal(state: EnvelopeState): boolean {
  return state !== "pending" && state !== "inflight" && state !== "held";
}

export interface QueueMessage {
  /** 8 hex digits. */
  readonly id: string;
  readonly kind: OutgoingKind;
  readonly outgoingId: string;
  readonly policyDomain: string;
  /** The Report-ID inside the report. */
  readonly reportId: string;
  /** The RFC 5322 Message-ID with angle brackets. */
  readonly messageId: string;
  readonly fileName: string;
  /** Envelope sender (the return path); never empty. */
  readonly sender: string;
  readonly size: number;
  readonly createdAt: number;
}

/** What a remote server, or the lack of one, said last. Outside text. */
export interface LastReply {
  readonly at: number;
  readonly host: string | null;
  readonly ip: string | null;
  /** TLS protocol, e.g. "TLSv1.3"; null = in clear or no connection. */
  readonly tls: string | null;
  /** SMTP reply code or HTTP status; null when there was none. */
  readonly code: number | null;
  /** Enhanced status code `c.s.d`. */
  readonly enhanced: string | null;
  readonly text: string;
}

export interface Envelope {
  /** 16 hex digits: message id + 8. */
  readonly id: string;
  readonly messageId: string;
  readonly kind: OutgoingKind;
  readonly outgoingId: string;
  readonly policyDomain: string;
  readonly sender: string;
  /** The address as in the rua URI, or the https URI. */
  readonly rcpt: string;
  readonly transport: "smtp" | "https";
  /** Domain of the address, or host of the URI: what is looked up. */
  readonly destination: string;
  readonly state: EnvelopeState;
  readonly attempts: number;
  readonly createdAt: number;
  readonly nextAt: number;
  readonly expiresAt: number;
  readonly last: LastReply | null;
  readonly size: number;
}

/** The result of one attempt for one envelope. */
export type AttemptOutcome = {
  readonly result: "delivered" | "temporary" | "permanent";
  readonly reply: LastReply;
  readonly durationMs: number;
};

/** What the store does with an envelope after an attempt. */
export interface AfterAttempt {
  readonly state: EnvelopeState;
  /** Epoch seconds of the next attempt, where there is one. */
  readonly nextAt: number;
  /** The reply says that the address cannot receive mail: add this automatic entry in the same transaction. */
  readonly suppress?: Suppression | null;
}

/** How operators select envelopes; all given members must match. */
export interface EnvelopeSelection {
  readonly ids?: readonly string[];
  readonly kind?: OutgoingKind;
  /** Exact policy domain; `*.d` = below d. */
  readonly domain?: string;
  /** An address, compared without case, or `@domain`. */
  readonly rcpt?: string;
  /** Domain of the address, or host of the https URI. */
  readonly destination?: string;
  readonly sender?: string;
  readonly states?: readonly EnvelopeState[];
  /** Part of the last reply's text, compared without case. */
  readonly error?: string;
  /** Due before, after (epoch seconds). */
  readonly dueBefore?: number;
  readonly dueAfter?: number;
}

export interface ChangeResult {
  readonly matched: number;
  readonly changed: number;
  readonly skipped: readonly { readonly id: string; readonly code: string }[];
}

export interface Pause {
  readonly subsystem: Subsystem;
  /** null = whole subsystem; else only this destination (mta). */
  readonly destination: string | null;
  readonly since: number;
  readonly who: string;
  readonly reason: string | null;
}

/** An address or domain that no report is sent to. */
export interface Suppression {
  /** `user@domain`, an https URI, `@domain` (all addresses at it), or `domain` (reports about it). Lower case. */
  readonly target: string;
  /** Epoch seconds from which it no longer applies; null = no end. */
  readonly until: number | null;
  readonly reason: string;
  /** automatic: added after a reply or a bounce, cleared by a delivery, and never in place of an operator's. */
  readonly author: "operator" | "automatic";
  readonly createdAt: number;
  /** Number of automatic suppressions in a row before this one; the period grows with it. */
  readonly step: number;
}

/** The suppression targets that apply to a recipient, the most specific first. */
export function suppressionTargets(rcpt: string, destination: string, policyDomain: string): string[] {
  return [rcpt, `@${destination}`, policyDomain].map((target) => target.toLowerCase());
}

/** True while the entry applies. `now`: epoch seconds. */
export function isActive({ until }: Suppression, now: number): boolean {
  return until === null || until > now;
}
