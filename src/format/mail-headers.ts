/** The header fields of a carrying mail that are kept or acted on. */
import type { MailHeaders } from "../model/reading.ts";
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

/** An RFC 5322 date in epoch seconds; null when it cannot be read. */
export function mailDate(text: string | null): number | null {
  if (text === null) return null;
  const bare = text
    .slice(0, 100)
    .replace(/\([^()]*\)/g, " ")
    .trim();
  const ms = Date.parse(bare);
  if (!Number.isNaN(ms)) return Math.floor(ms / 1000);
  const match = /(\d{1,2}\s+[a-z]{3}\s+\d{4}\s+\d{1,2}:\d\d(?::\d\d)?)\s*([+-]\d{4})?/i.exec(bare);
  const again = match ? Date.parse(`${match[1]} ${match[2] ?? "+0000"}`) : Number.NaN;
  return Number.isNaN(again) ? null : Math.floor(again / 1000);
}

/** An automatic reply (RFC 3834 5): nothing to read, never to be answered. */
export function isAutoReply(fields: readonly Field[]): boolean {
  const submitted = (firstField(fields, "auto-submitted") ?? "").replace(/[;\s].*$/, "").toLowerCase();
  if (submitted === "auto-replied") return true;
  return /^(?:auto(?:matic)?[ -]?repl|out of (?:the )?office|vacation)/i.test(
    decodeWords(firstField(fields, "subject") ?? ""),
  );
}
