/** The queue of messages: one message per rua address, one envelope per recipient. Times are epoch seconds UTC. */
import type { OutgoingKind } from "./outgoing.ts";

/**
 * pending: waits for `nextAt`. inflight: leased to a running attempt. held: an operator stopped it.
 * The others are final and kept for a while: delivered, failed (permanent), expired, removed.
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

/** How envelopes are selected by people; all given members must match. */
export interface EnvelopeSelection {
  readonly ids?: readonly string[];
  readonly kind?: OutgoingKind;
  /** Exact policy domain; `*.d` = below d. */
  readonly domain?: string;
  /** Exact address, or `@domain`. */
  readonly rcpt?: string;
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

export const SUBSYSTEMS = ["smtp", "mda", "mta", "scheduler"] as const;
/** smtp: intake; mda: reading accepted mail; mta: delivery; scheduler: composing what is due. */
export type Subsystem = (typeof SUBSYSTEMS)[number];

export interface Pause {
  readonly subsystem: Subsystem;
  /** null = whole subsystem; else only this destination (mta). */
  readonly destination: string | null;
  readonly since: number;
  readonly until: number | null;
  readonly who: string;
  readonly reason: string | null;
}

export interface Suppression {
  /** `user@domain`, `@domain` (rua domain), or `domain` (policy domain). */
  readonly target: string;
  readonly until: number | null;
  readonly reason: string;
  readonly author: "operator" | "automatic";
  readonly createdAt: number;
  /** How many times in a row this target was suppressed automatically. */
  readonly step: number;
}
