/** Puts events into the outgoing reports that they belong to. */
import type { Config } from "../config/schema.ts";
import { parseTlsrptRecord } from "../dns/tlsrpt.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { FeedEvent } from "../model/evaluation.ts";
import type { OutgoingPolicy } from "../model/outgoing.ts";
import type { CountedEvent, QueueStore } from "../store/queue.ts";
import { dmarcPolicyHash, dueAt, type Period, periodAt, tlsRecordHash } from "./periods.ts";

export interface CounterOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly clock: Clock;
  readonly secret: Uint8Array;
  readonly log: Log;
  /** Something became due earlier than known. */
  readonly onOpened: () => void;
}

export interface Counted {
  readonly counted: number;
  readonly repeated: number;
  readonly refused: readonly { readonly index: number; readonly reason: string }[];
}

/** Counts a batch in one transaction. Errors: MailreportError of the store. */
export function makeCounter({ config, store, clock, secret, log, onOpened }: CounterOptions) {
  return (feed: string, events: readonly FeedEvent[]): Counted => {
    const now = epochSeconds(clock);
    const current = config();
    const accepted: CountedEvent[] = [];
    const refused: { index: number; reason: string }[] = [];
    for (const [index, event] of events.entries()) {
      const off = event.kind === "dmarc" ? !current.report.dmarc : !current.report.tls;
      if (off) refused.push({ index, reason: `${event.kind}: these reports are switched off` });
      else accepted.push(place(event, current, now));
    }
    const result = store.count(feed, accepted, now);
    if (result.opened.length > 0) {
      for (const id of result.opened) log.info("outgoing.opened", { id });
      onOpened();
    }
    return { counted: result.counted, repeated: result.repeated, refused };
  };

  function place(event: FeedEvent, current: Config, now: number): CountedEvent {
    const { kind } = event;
    const policyDomain = kind === "dmarc" ? event.policy.domain : event.domain;
    const policyHash = kind === "dmarc" ? dmarcPolicyHash(event.policy) : tlsRecordHash(tlsRua(event.record));
    const policy: OutgoingPolicy =
      kind === "dmarc" ? { kind, policy: event.policy, rua: event.rua } : { kind, record: event.record };
    const { period, late } = openPeriod(event, current, now, policyDomain, policyHash);
    const due = dueAt(current, kind, policyDomain, period, secret);
    return { event, period: { kind, policyDomain, policyHash, ...period, due, policy }, late };
  }

  /** The period of the event's time; where that is closed, what is open after it. */
  function openPeriod(event: FeedEvent, current: Config, now: number, domain: string, hash: string): { period: Period; late: boolean } {
    const own = periodAt(current, event.kind, domain, event.time);
    const closed = store.closedUntil(event.kind, domain, hash, own.begin, own.end);
    if (closed === undefined) return { period: own, late: false };
    if (closed < own.end) return { period: { begin: closed + 1, end: own.end }, late: event.time <= closed };
    const today = periodAt(current, event.kind, domain, now);
    const cut = store.closedUntil(event.kind, domain, hash, today.begin, today.end);
    if (cut === undefined) return { period: today, late: true };
    if (cut < today.end) return { period: { begin: cut + 1, end: today.end }, late: true };
    // even the current period is closed: the next one takes it
    return { period: periodAt(current, event.kind, domain, today.end + 1), late: true };
  }
}

function tlsRua(record: string | null): readonly string[] | null {
  return record === null ? null : (parseTlsrptRecord(record) ?? null);
}
