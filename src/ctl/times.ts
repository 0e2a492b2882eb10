/** Times as people type them. All are UTC: a report's day is a UTC day. */
import { parseDuration } from "../lib/units.ts";
import { UsageError } from "./grammar.ts";

const DATE = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$/i;
const EPOCH = /^@?(\d{9,11})$|^@(\d{1,8})$/;

/**
 * `now`, 2026-11-20, 2026-11-20T12:00(:00)(Z|+01:00), @epoch, epoch, -2h, +30m → epoch seconds. Without a zone it is UTC.
 * @param bare what a span without a sign means: 7d = 7 days ago; undefined: it is refused
 * Throws UsageError.
 */
export function readTime(text: string, now: number, bare?: "ago"): number {
  const time = timeOf(text, now, bare);
  if (time === undefined)
    throw new UsageError(
      `not a time: ${text}`,
      "possibilities are:",
      "2026-11-20",
      "2026-11-20T12:00:00Z",
      ...(bare === "ago" ? ["7d (ago)"] : []),
      "-7d",
      "+30m",
      "now",
      "@1795132800",
    );
  return time;
}

function timeOf(text: string, now: number, bare: "ago" | undefined): number | undefined {
  if (text === "now") return Math.floor(now / 1000);
  const epoch = EPOCH.exec(text);
  if (epoch) return Number(epoch[1] ?? epoch[2]);
  const sign = text.startsWith("-") ? -1 : text.startsWith("+") ? 1 : 0;
  if (sign === 0 && bare === undefined) return dateOf(text);
  const span = parseDuration(sign === 0 ? text : text.slice(1));
  if (span === undefined) return dateOf(text);
  return Math.max(0, Math.floor((now + (sign === 1 ? span : -span)) / 1000));
}

/** A date that is in the calendar; Date.parse would read 31 February as 3 March, and a time without zone as local. */
function dateOf(text: string): number | undefined {
  const match = DATE.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour = "0", minute = "0", second = "0", zone = "Z"] = match;
  const midnight = Date.UTC(Number(year), Number(month) - 1, Number(day));
  if (new Date(midnight).toISOString().slice(0, 10) !== `${year}-${month}-${day}`) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
  const seconds = midnight / 1000 + Number(hour) * 3600 + Number(minute) * 60 + Number(second);
  return seconds - offsetOf(zone);
}

/** +01:00 → 3600. */
function offsetOf(zone: string): number {
  if (/^z$/i.test(zone)) return 0;
  const digits = zone.replace(/[+:-]/g, "");
  const seconds = Number(digits.slice(0, 2)) * 3600 + Number(digits.slice(2)) * 60;
  return zone.startsWith("-") ? -seconds : seconds;
}
