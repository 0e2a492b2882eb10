/** Before which times data has expired. */
import { consistentRetention, type RetentionPolicy } from "../../../../model/retention.ts";
import { monthOf } from "../intern.ts";

const DAY = 86_400;

/** Epoch seconds before which data has expired, by kind; months as `monthOf` counts them. */
export interface ExpiryLimits {
  readonly raw: number;
  readonly failedRaw: number;
  readonly records: number;
  readonly feedback: number;
  readonly mails: number;
  /** Begin of a UTC day. */
  readonly day: number;
  readonly sums: number;
  /** Months of sources and authsets, which records refer to. */
  readonly recordMonth: number;
  /** Of heads, which reports refer to. */
  readonly reportMonth: number;
  /** Of domains and organisations, which reports and day sums refer to. */
  readonly sumMonth: number;
}

/** @param now epoch seconds */
export function limitsOf(now: number, policy: RetentionPolicy): ExpiryLimits {
  const keep = consistentRetention(policy);
  const sums = now - keep.sums;
  // a month is kept as a whole, and one more in case that the clock was set
  const monthBefore = (time: number): number => monthOf(time) - 1;
  return {
    raw: now - keep.raw,
    failedRaw: now - keep.failedRaw,
    records: now - keep.records,
    feedback: now - keep.feedback,
    mails: now - keep.mails,
    day: Math.floor(sums / DAY) * DAY,
    sums,
    recordMonth: monthBefore(now - keep.records),
    reportMonth: monthBefore(now - keep.mails),
    sumMonth: monthBefore(sums),
  };
}
