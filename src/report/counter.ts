/** Puts events into the outgoing reports that they belong to. */
import type { Config } from "../config/schema.ts";
import { parseTlsrptRecord } from "../dns/tlsrpt.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { FeedEvent } from "../model/evaluation.ts";
import type { DaemonEventSink } from "../model/events.ts";
import { type OutgoingKind, type OutgoingPolicy, parseOutgoingId } from "../model/outgoing.ts";
import type { CountedEvent, QueueStore } from "../store/queue.ts";
import { dmarcPolicyHash, dueAt, type Period, periodAt, tlsRecordHash } from "./periods.ts";

export interface CounterOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly clock: Clock;
  readonly secret: Uint8Array;
  readonly events: DaemonEventSink;
  /** Something became due earlier than known. */
  readonly onOpened: () => void;
}

export interface Counted {
  readonly counted: number;
  readonly repeated: number;
  readonly refused: readonly { readonly index: number; readonly reason: string }[];
}

/** Tallies of all open reports together; above, events are refused, and the feeder is told. */
const MOST_TALLIES = 2_000_000;
/** Policies that are remembered with their hash and periods. */
const KNOWN_POLICIES = 20_000;

/** A policy as events bring it, again and again. */
interface Known {
  readonly kind: OutgoingKind;
  readonly domain: string;
  readonly hash: string;
  readonly policy: OutgoingPolicy;
  readonly periods: Map<number, CountedEvent["period"]>;
}

/** Counts a batch in one transaction. Errors: MailreportError of the store. */
export function makeCounter({ config, store, clock, secret, events: reported, onOpened }: CounterOptions) {
  const known = new Map<string, Known>();
  let knownConfig: Config | undefined;

  return (feed: string, events: readonly FeedEvent[], rejected = 0, cursor?: string): Counted => {
    const now = epochSeconds(clock);
    const current = config();
    if (knownConfig !== current || known.size > KNOWN_POLICIES) known.clear();
    knownConfig = current;
    const full = (store.stats()["outgoing.tally"] ?? 0) >= MOST_TALLIES;
    const accepted: CountedEvent[] = [];
    const refused: { index: number; reason: string }[] = [];
    for (const [index, event] of events.entries()) {
      const off = event.kind === "dmarc" ? !current.report.dmarc : !current.report.tls;
      if (off) refused.push({ index, reason: `kind: ${event.kind} reports are switched off` });
      else if (full) refused.push({ index, reason: `more than ${MOST_TALLIES} rows wait to be reported` });
      else accepted.push(place(event, current, now));
    }
    const result = store.count(feed, accepted, now, rejected + refused.length, cursor);
    if (result.opened.length > 0) {
      for (const id of result.opened) {
        const { kind, domain } = parseOutgoingId(id)!;
        reported.emit("outgoing.opened", { id, kind, domain });
      }
      onOpened();
    }
    return { counted: result.counted, repeated: result.repeated, refused };
  };

  function place(event: FeedEvent, current: Config, now: number): CountedEvent {
    const of = policyOf(event);
    const { period, late } = openPeriod(of, event.time, current, now);
    let counted = of.periods.get(period.begin);
    if (counted?.end !== period.end) {
      const { kind, domain, hash, policy } = of;
      const due = dueAt(current, kind, domain, period, secret);
      counted = { kind, policyDomain: domain, policyHash: hash, ...period, due, policy };
      of.periods.set(period.begin, counted);
    }
    return { event, period: counted, late };
  }

  function policyOf(event: FeedEvent): Known {
    const key = keyOf(event);
    let of = known.get(key);
    if (!of) {
      const periods = new Map<number, CountedEvent["period"]>();
      if (event.kind === "dmarc") {
        const { kind, policy, rua } = event;
        of = {
          kind,
          domain: policy.domain,
          hash: dmarcPolicyHash(policy),
          policy: { kind, policy, rua },
          periods,
        };
      } else {
        const { kind, domain, record } = event;
        const rua = record === null ? null : (parseTlsrptRecord(record) ?? null);
        of = { kind, domain, hash: tlsRecordHash(rua), policy: { kind, record }, periods };
      }
      known.set(key, of);
    }
    return of;
  }

  /** The period of the event's time; where that is closed, what is open after it. */
  function openPeriod(
    of: Known,
    time: number,
    current: Config,
    now: number,
  ): { period: Period; late: boolean } {
    const { kind, domain, hash } = of;
    let period = periodAt(current, kind, domain, time);
    for (let late = false; ; late = true) {
      const closed = store.closedUntil(kind, domain, hash, period.begin, period.end);
      if (closed === undefined) return { period, late };
      if (closed < period.end) {
        return { period: { begin: closed + 1, end: period.end }, late: late || time <= closed };
      }
      // the period is over: the current one takes the event, or what comes after it
      period = periodAt(current, kind, domain, period.end < now ? now : period.end + 1);
    }
  }
}

/** Equal for events that have the same policy and addresses. */
function keyOf(event: FeedEvent): string {
  if (event.kind === "tls") return `t|${event.domain}|${event.record}`;
  const { domain, p, sp, np, adkim, aspf, fo, testing, psd, discovery } = event.policy;
  return `d|${domain}|${p}|${sp}|${np}|${adkim}|${aspf}|${fo}|${testing}|${psd}|${discovery}|${event.rua.join()}`;
}
