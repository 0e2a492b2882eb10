/** The header fields of a report mail that are stored or used. */
import type { MailHeaders } from "../../model/reading.ts";
import { decodeWords, type Field, firstField } from "./mime/headers.ts";

const LONGEST = 1000;

export function readMailHeaders(fields: readonly Field[]): MailHeaders {
  const text = (name: string): string | null => {
    const value = firstField(fields, name);
    return value === null ? null : decodeWords(value).slice(0, LONGEST);
  };
  return {
    from: text("from"),
    subject: text("subject"),
    messageId: text("message-id"),
    date: mailDate(firstField(fields, "date")),
    autoSubmitted: text("auto-submitted"),
    tlsReportDomain: text("tls-report-domain"),
    tlsReportSubmitter: text("tls-report-submitter"),
    hops: fields.filter((f) => f.name === "received").length,
  };
}

const MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec";
/** RFC 5322 4.3; all other names are taken as UTC. */
const ZONES: Readonly<Record<string, number>> = {
  EDT: -4,
  EST: -5,
  CDT: -5,
  CST: -6,
  MDT: -6,
  MST: -7,
  PDT: -7,
  PST: -8,
};
const RFC5322 =
  /^(?:[a-z]{2,9}\.?,?\s*)?(\d{1,2})[ -]+([a-z]{3})[a-z]{0,6}\.?,?[ -]+(\d{4}|\d\d)[ ,]+(\d{1,2}):(\d\d)(?::(\d\d))?(?:[.,]\d{1,9})?\s*([+-]\d{4}|[a-z]{1,5})?/i;
/** ctime: `Thu Nov 16 09:59:00 2023`. */
const CTIME =
  /^[a-z]{3},? ([a-z]{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (?:[a-z]{3,5} )?(\d{4})(?: ([+-]\d{4}))?/i;
const ISO = /^(\d{4})-(\d\d)-(\d\d)[t ](\d\d):(\d\d)(?::(\d\d))?(?:\.\d{1,9})?\s*([+-]\d\d:?\d\d|z)?$/i;

/** An RFC 5322 date (also ctime and ISO 8601) in epoch seconds, UTC where no zone is named; null when it is none. */
export function mailDate(text: string | null): number | null {
  if (text === null) return null;
  const bare = text
    .slice(0, 200)
    .replace(/\([^()]*\)/g, " ")
    .replace(/\s+/g, " ")
    .trim();
  const m = RFC5322.exec(bare);
  if (m) return epoch(m[3]!, month(m[2]!), m[1]!, m[4]!, m[5]!, m[6], m[7]);
  const c = CTIME.exec(bare);
  if (c) return epoch(c[6]!, month(c[1]!), c[2]!, c[3]!, c[4]!, c[5], c[7]);
  const i = ISO.exec(bare);
  return i ? epoch(i[1]!, Number(i[2]) - 1, i[3]!, i[4]!, i[5]!, i[6], i[7]?.replace(":", "")) : null;
}

function month(name: string): number {
  const at = MONTHS.indexOf(name.slice(0, 3).toLowerCase());
  return at % 3 === 0 ? at / 3 : -1;
}

function epoch(
  year: string,
  monthIndex: number,
  day: string,
  hour: string,
  minute: string,
  second: string | undefined,
  zone: string | undefined,
): number | null {
  const short = Number(year);
  const full = year.length > 2 ? short : short < 50 ? 2000 + short : 1900 + short; // RFC 5322 4.3
  const valid =
    monthIndex >= 0 && monthIndex < 12 && Number(day) >= 1 && Number(day) <= 31 && Number(hour) < 24;
  if (!valid || Number(minute) > 59) return null;
  const ms = Date.UTC(full, monthIndex, Number(day), Number(hour), Number(minute), Number(second ?? 0));
  return ms / 1000 - offset(zone);
}

/** Seconds east of UTC. */
function offset(zone: string | undefined): number {
  const match = /^([+-])(\d\d)(\d\d)$/.exec(zone ?? "");
  if (!match) return (ZONES[zone?.toUpperCase() ?? ""] ?? 0) * 3600;
  return (match[1] === "-" ? -1 : 1) * (Number(match[2]) * 3600 + Number(match[3]) * 60);
}

/** An automatic reply (RFC 3834 5): it has no report, and is never answered. */
export function isAutoReply(fields: readonly Field[]): boolean {
  const submitted = (firstField(fields, "auto-submitted") ?? "").replace(/[;\s].*$/, "").toLowerCase();
  if (submitted === "auto-replied") return true;
  return /^(?:auto(?:matic)?[ -]?repl|out of (?:the )?office|vacation)/i.test(
    decodeWords(firstField(fields, "subject") ?? ""),
  );
}
