/** Figures of DMARC records: how one row's evaluation is packed, and how a long report is spread over days. */
import type { Disposition, DmarcRecord, Evaluated } from "./report.ts";

export const DAY = 86_400;
/** Longer reports are spread over their days in day views. */
export const LONG_SPAN = 25 * 3600;
/** Longer ones are not spread, but counted on their first day: there is no telling when their messages came. */
export const LONGEST_SPREAD = 400 * DAY;

const DISPOSITIONS = ["none", "pass", "quarantine", "reject", "unknown"] as const;
const EVALUATED = ["fail", "pass", "unknown"] as const;

/** Disposition, dkim and spf of a record in one small number; the key of all sums. */
export function packEvaluation(record: Pick<DmarcRecord, "disposition" | "dkim" | "spf">): number {
  return (
    DISPOSITIONS.indexOf(record.disposition) * 16 +
    EVALUATED.indexOf(record.dkim) * 4 +
    EVALUATED.indexOf(record.spf)
  );
}

export function unpackEvaluation(ev: number): { disposition: Disposition; dkim: Evaluated; spf: Evaluated } {
  return {
    disposition: DISPOSITIONS[ev >> 4] ?? "unknown",
    dkim: EVALUATED[(ev >> 2) & 3] ?? "unknown",
    spf: EVALUATED[ev & 3] ?? "unknown",
  };
}

/** DMARC pass: the evaluated dkim or spf is pass. Unknown is never pass. */
export function isPass(ev: number): boolean {
  return (ev & 3) === 1 || ((ev >> 2) & 3) === 1;
}

/** Neither passed, and at least one was not said to fail. */
export function isUnknown(ev: number): boolean {
  return !isPass(ev) && ((ev & 3) === 2 || ((ev >> 2) & 3) === 2);
}

/** All packed evaluations that `test` accepts. */
export function evaluationsThat(test: (ev: number) => boolean): number[] {
  const found: number[] = [];
  for (let ev = 0; ev < DISPOSITIONS.length * 16; ev++) {
    if ((ev & 3) < 3 && ((ev >> 2) & 3) < 3 && test(ev)) found.push(ev);
  }
  return found;
}

/**
 * Spreads `count` messages of the range [begin, end] (epoch seconds, both included) over UTC days, per second, by
 * largest remainder: the sum is exact. A range up to 25 hours belongs to the day of its begin.
 * @returns pairs of (begin of the day in epoch seconds, messages), without empty days
 */
export function spreadOverDays(begin: number, end: number, count: number): [day: number, messages: number][] {
  const first = Math.floor(begin / DAY) * DAY;
  const span = end - begin + 1;
  if (span <= LONG_SPAN || span > LONGEST_SPREAD) return [[first, count]];
  const parts: { day: number; whole: number; rest: number }[] = [];
  let given = 0;
  for (let day = first; day <= end; day += DAY) {
    const seconds = Math.min(end + 1, day + DAY) - Math.max(begin, day);
    const exact = (count * seconds) / span;
    const whole = Math.floor(exact);
    given += whole;
    parts.push({ day, whole, rest: exact - whole });
  }
  const byRest = [...parts].sort((a, b) => b.rest - a.rest || a.day - b.day);
  for (let i = 0; i < count - given; i++) byRest[i % byRest.length]!.whole++;
  return parts.filter((p) => p.whole > 0).map((p) => [p.day, p.whole]);
}
