/** Delivery status notifications for messages of ours, tied to the envelopes that caused them (RFC 3464). */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { DaemonEventSink } from "../model/events.ts";
import type { DsnReport } from "../model/report.ts";
import type { QueueStore } from "../store/queue.ts";
import { automaticSuppression } from "./suppression.ts";

export interface BounceOptions {
  readonly store: QueueStore;
  readonly clock: Clock;
  readonly events: DaemonEventSink;
}

/** What the action of a notification (RFC 3464 2.3.3) means for an envelope that was handed over. */
const RESULTS = {
  failed: "permanent",
  delayed: "temporary",
  unknown: "temporary",
  delivered: "delivered",
  relayed: "delivered",
  expanded: "delivered",
} as const;

type Recipient = DsnReport["recipients"][number];

/**
 * Records a notification for message `messageId`. One transaction per envelope; recording one a second time after an
 * error adds to its history, no more. Errors: those of the store.
 */
export function recordBounce(messageId: string, dsn: DsnReport, options: BounceOptions): void {
  const { store, clock, events } = options;
  const now = epochSeconds(clock);
  const envelopes = store.envelopesOf(messageId);
  for (const { id, rcpt, outgoingId, policyDomain } of envelopes) {
    const recipient = recipientFor(rcpt, dsn, envelopes.length === 1);
    if (!recipient) continue;
    const { action, status, diagnostic, remoteMta } = recipient;
    const text = `bounced (${action}): ${diagnostic ?? status ?? "no reason given"}`;
    const host = remoteMta ?? dsn.reportingMta;
    const reply = { at: now, host, ip: null, tls: null, code: null, enhanced: status, text };
    const suppress =
      action === "failed" ? automaticSuppression(store, rcpt, diagnostic ?? status ?? "bounced", now) : null;
    store.noteBounce(id, { result: RESULTS[action], reply, durationMs: 0 }, now, suppress);
    const envelope = { id, message: messageId, outgoing: outgoingId, domain: policyDomain, rcpt };
    events.emit("envelope.bounced", { ...envelope, action, status, diagnostic });
    if (suppress) {
      const { target, until, reason } = suppress;
      events.emit("suppression.added", { target, until, reason });
    }
  }
}

/**
 * The recipient of the notification that an envelope is for. A forwarding host reports another address than the one
 * that the message was sent to; with one of each they belong together.
 */
function recipientFor(rcpt: string, { recipients }: DsnReport, onlyEnvelope: boolean): Recipient | undefined {
  const named = recipients.find(({ originalRecipient, finalRecipient }) =>
    [originalRecipient, finalRecipient].some((address) => address?.toLowerCase() === rcpt.toLowerCase()),
  );
  return named ?? (onlyEnvelope && recipients.length === 1 ? recipients[0] : undefined);
}
