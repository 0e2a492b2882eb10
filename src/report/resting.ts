/** Waits after a composition that failed: noted in the store; in memory only while the store cannot note anything. */
import type { MailreportError } from "../lib/errors.ts";
import type { OutgoingReport } from "../model/outgoing.ts";

/** Waits after a composition that failed by an error of ours. Seconds; the last one repeats. */
const FAULT_WAITS = [900, 3600, 7200, 14_400, 28_800];

/** When a report is tried again after one more composition that failed by an error of ours. Epoch seconds. */
export function nextTry({ failures }: OutgoingReport, now: number): number {
  return now + FAULT_WAITS[Math.min(failures, FAULT_WAITS.length - 1)]!;
}

/** The store failed for now (full, busy): nothing is wrong with the report. */
export function isStoreFault(error: MailreportError): boolean {
  return error.temporary && error.code.startsWith("store.");
}

/**
 * Waits, seconds; the last one repeats. The first is longer than the minute after which a timer tries again, so that
 * other reports have their turn then.
 */
const WAITS = [90, 180, 300, 600, 1800, 3600];

/** Reports that wait though they are due, because the store cannot note anything about them now. */
export class Resting {
  readonly #until = new Map<string, { readonly until: number; readonly times: number }>();

  /** Lets a report rest, longer each time; returns until when. @param now epoch seconds */
  rest(id: string, now: number): number {
    const times = this.#until.get(id)?.times ?? 0;
    const until = now + WAITS[Math.min(times, WAITS.length - 1)]!;
    this.#until.set(id, { until, times: times + 1 });
    return until;
  }

  /** It was composed, deferred or dropped, or its failure was noted in the store. */
  forget(id: string): void {
    this.#until.delete(id);
  }

  /** The reports that rest at `now`. How often each rested is remembered for two hours more. */
  at(now: number): string[] {
    const ids: string[] = [];
    for (const [id, { until }] of this.#until) {
      if (until > now) ids.push(id);
      else if (until < now - 2 * WAITS.at(-1)!) this.#until.delete(id);
    }
    return ids;
  }

  /** When the next rest ends, later than `now`. A report that rests no more is due by the store alone, or not at all. */
  next(now: number): number | undefined {
    let next: number | undefined;
    for (const { until } of this.#until.values())
      if (until > now && (next === undefined || until < next)) next = until;
    return next;
  }
}
