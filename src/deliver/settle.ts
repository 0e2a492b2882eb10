/** From the outcome of an attempt to the state of its envelope, in one transaction, with one event. */
import type { Config } from "../config/schema.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { Log } from "../lib/log/log.ts";
import type { DaemonEventSink } from "../model/events.ts";
import type { AfterAttempt, Envelope } from "../model/queue.ts";
import type { QueueStore } from "../store/queue.ts";
import type { Attempted } from "./attempt.ts";
import { blamesAddress, nextAttempt } from "./retry.ts";
import { automaticSuppression } from "./suppression.ts";

export interface SettleOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
}

/** How many envelopes ended which way since the start. */
export interface SettleCounts {
  delivered: number;
  deferred: number;
  failed: number;
}

const EVENTS = {
  delivered: "envelope.delivered",
  failed: "envelope.failed",
  expired: "envelope.expired",
  pending: "envelope.deferred",
} as const;

/**
 * Commits the outcome of an attempt. Errors: those of the store; nothing is changed, reported or counted then, and it can
 * be called again.
 */
export function settle(
  envelope: Envelope,
  { result, reply, stage }: Attempted,
  durationMs: number,
  counts: SettleCounts,
  { config, store, clock, log, events }: SettleOptions,
): void {
  const now = epochSeconds(clock);
  const { id, rcpt } = envelope;
  const retryAt = result === "temporary" ? nextAttempt(envelope, config(), now) : null;
  const state =
    result === "delivered"
      ? "delivered"
      : result === "permanent"
        ? "failed"
        : retryAt === null
          ? "expired"
          : "pending";
  const blamed = result === "permanent" && blamesAddress(reply.code, reply.enhanced, stage);
  const suppress = blamed ? automaticSuppression(store, rcpt, reply.text, now) : null;
  const next: AfterAttempt = { state, nextAt: retryAt ?? now, suppress };
  if (!store.settle(id, { result, reply, durationMs }, next, now)) {
    // it bounced or was put back while the attempt ran
    log.warn("deliver.problem", { id, outcome: state, reason: "the envelope is not in flight any more" });
    return;
  }
  counts[state === "delivered" ? "delivered" : state === "pending" ? "deferred" : "failed"]++;
  events.emit(EVENTS[state], {
    id,
    message: envelope.messageId,
    outgoing: envelope.outgoingId,
    domain: envelope.policyDomain,
    rcpt,
    host: reply.host,
    tls: reply.tls,
    code: reply.code,
    enhanced: reply.enhanced,
    reply: reply.text,
    attempts: envelope.attempts,
    ms: durationMs,
    next: retryAt,
  });
  if (suppress) {
    const { target, until, reason } = suppress;
    events.emit("suppression.added", { target, until, reason });
  }
}
