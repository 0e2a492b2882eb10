/** How long data of the archive is kept: rules that hold whatever the configuration says. */

/** Seconds to keep. All but `sums` begin when a mail or report was received; `sums` at the day that a sum is of. */
export interface RetentionPolicy {
  /** Bytes of mails of which the reports were parsed. */
  readonly raw: number;
  /** Bytes of mails that could not be parsed. */
  readonly failedRaw: number;
  /** Records of DMARC reports, policies and failure details of TLS reports. */
  readonly records: number;
  /** Failure and abuse reports, delivery status notifications. */
  readonly feedback: number;
  /** Rows of mails and reports. */
  readonly mails: number;
  /** Day sums, and the keys of reports that went into them. */
  readonly sums: number;
}

const DAY = 86_400;
/** Day sums are kept for this much longer than reports, so that a report may come late and still count. */
const LATEST = 90 * DAY;

/**
 * The policy without contradictions: rows of mails and reports stay as long as anything that belongs to them, and day
 * sums longer than the reports that went into them.
 */
export function consistentRetention(policy: RetentionPolicy): RetentionPolicy {
  const { raw, failedRaw, records, feedback } = policy;
  const mails = Math.max(policy.mails, raw, failedRaw, records, feedback);
  return { ...policy, mails, sums: Math.max(policy.sums, mails + LATEST) };
}

/**
 * How long before it is received a report may begin to enter the day sums, seconds: so that its sums do not expire before
 * its row does, from which they are subtracted when it is replaced.
 */
export function countedWithin(policy: RetentionPolicy): number {
  const { mails, sums } = consistentRetention(policy);
  return sums - mails - DAY;
}
