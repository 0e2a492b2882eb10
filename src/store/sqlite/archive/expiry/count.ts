/** Counts what has expired, by the indexes and conditions with which it is deleted. */
import type { RetentionPolicy } from "../../../../model/retention.ts";
import type { Expirable } from "../../../archive/maintenance.ts";
import type { Sqlite } from "../../open.ts";
import { checkedBy } from "../cancel.ts";
import { RAW } from "../raw-class.ts";
import { limitsOf } from "./limits.ts";
import { NAMES } from "./names.ts";

/** Days alone are multiples of 86,400. */
const DAY_NUMBER = "(domain.id + day / 86400)";
const DAY_SUMS = ["daily", "daily_total", "tls_daily"] as const;

/**
 * How much has expired.
 * @param now epoch seconds
 */
export function expirable(database: Sqlite, now: number, policy: RetentionPolicy): Expirable {
  const limits = limitsOf(now, policy);
  /** Rows that meet a condition; `number`: a column with values that are spread evenly. */
  const count = (from: string, values: readonly number[], number = "id"): number =>
    Number(
      database
        .prepare(`SELECT count(*) FROM ${from} AND ${checkedBy(number)}`)
        .pluck()
        .get(...values),
    );
  const reports = (kinds: readonly string[], before: number): number =>
    kinds.reduce(
      (sum, kind) =>
        sum + count(`report WHERE records_kept = 1 AND kind = '${kind}' AND received_at < ?`, [before]),
      0,
    );
  const raw = "mail WHERE raw = ? AND raw > 0 AND received_at < ?";
  return {
    raw_mails: count(raw, [RAW.parsed, limits.raw]) + count(raw, [RAW.failed, limits.failedRaw]),
    feedback_reports: reports(["failure", "arf", "dsn"], limits.feedback),
    reports_with_records: reports(["dmarc", "tls"], limits.records),
    mails: count("mail WHERE state = 'done' AND received_at < ?", [limits.mails]),
    day_sums: DAY_SUMS.reduce(
      (sum, table) =>
        sum +
        count(`domain CROSS JOIN ${table} ON domain_id = domain.id AND day < ?`, [limits.day], DAY_NUMBER),
      0,
    ),
    report_keys: count('expired_report WHERE "end" < ?', [limits.sums], '"end"'),
    names: Object.entries(NAMES).reduce(
      (sum, [table, limit]) => sum + count(`${table} WHERE used < ?`, [limits[limit]]),
      0,
    ),
  };
}
