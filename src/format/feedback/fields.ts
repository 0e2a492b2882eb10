/** Header-like fields of feedback and delivery-status parts, and helpers of the parsers of such reports. */
import { createHash } from "node:crypto";
import { joinWarnings, type WarningList } from "../../model/outcome.ts";
import type { ItemReading, MailHeaders, PartInfo, ReportSink } from "../../model/reading.ts";
import type { DsnReport, FeedbackReport, ReportFigures } from "../../model/report.ts";
import { type ReadContext, ReadStop } from "../context.ts";
import { decodeWords, type Field, type HeaderBlock, readHeaderBlock } from "../mail/mime/headers.ts";
import { bodyOf, type Part } from "../mail/mime/parts.ts";

/** A report that is a whole part of a mail, and its siblings. */
export interface PartReading {
  readonly bytes: Buffer;
  /** The siblings, the report part among them. */
  readonly parts: readonly Part[];
  readonly headers: MailHeaders | null;
  readonly context: ReadContext;
  readonly sink: ReportSink;
  readonly part: PartInfo;
}

/** Types under which a machine-readable part comes when a relay has relabelled it. */
const PLAIN_TYPE = /^(?:text\/plain|application\/octet-stream|message\/[\w.-]+)?$/;
const RETURNED_TYPE = /^(?:message|text)\/(?:rfc822|global)(?:-headers?)?$/;
const HEAD = 1024;

/** A copy of a message, or of its header block (RFC 5965 2, RFC 3462 2, RFC 6533 4.3, and sloppy forms of these). */
export function isReturned(part: Part): boolean {
  return RETURNED_TYPE.test(part.mediaType);
}

/** A message/feedback-report (RFC 5965 3), by its type or by its fields. */
export function isFeedbackPart(bytes: Buffer, part: Part): boolean {
  if (part.mediaType === "message/feedback-report") return true;
  return isPlain(part) && /^(?=\s*[\w-]+:)(?:.*\n){0,6}?feedback-type:/i.test(headOf(bytes, part));
}

/** A message/delivery-status or message/global-delivery-status (RFC 3464 2, RFC 6533 4.2), by its type or its fields. */
export function isStatusPart(bytes: Buffer, part: Part): boolean {
  if (/^message\/(?:global-)?delivery-status$/.test(part.mediaType)) return true;
  return isPlain(part) && /^\s*(?:reporting-mta|final-recipient):\s*[\w-]+\s*;/i.test(headOf(bytes, part));
}

function isPlain(part: Part): boolean {
  return part.children.length === 0 && PLAIN_TYPE.test(part.mediaType) && !isReturned(part);
}

function headOf(bytes: Buffer, part: Part): string {
  return bodyBytes(bytes, { ...part, end: Math.min(part.end, part.start + HEAD) }, HEAD).toString("latin1");
}

/** Bytes of a report part that are read; such a part is a page of fields. */
const LARGEST = 256 * 1024;

/** The decoded body of a part, cut at `most` bytes. */
export function bodyBytes(bytes: Buffer, part: Part, most = LARGEST): Buffer {
  const chunks: Buffer[] = [];
  let size = 0;
  for (const chunk of bodyOf(bytes, part)) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= most) break;
  }
  return Buffer.concat(chunks).subarray(0, most);
}

/** The header block of a returned message. Its bytes were cut before, so it is within the limits. */
export function headerOf(bytes: Buffer): HeaderBlock {
  return readHeaderBlock(bytes, 0, bytes.length, { header_size: bytes.length, header_fields: bytes.length });
}

/** The first text/plain leaf; undefined when there is none. */
export function firstText(part: Part): Part | undefined {
  if (part.children.length === 0)
    return part.mediaType === "text/plain" || part.mediaType === "" ? part : undefined;
  for (const child of part.children) {
    const found = isReturned(child) ? undefined : firstText(child);
    if (found) return found;
  }
  return undefined;
}

/** Groups of fields, separated by empty lines. */
export function fieldGroups(body: Buffer, context: ReadContext): Field[][] {
  const groups: Field[][] = [];
  let at = 0;
  while (at < body.length && groups.length < 1000) {
    while (at < body.length && body[at]! <= 0x20) at++;
    if (at >= body.length) break;
    const { fields, bodyStart } = readHeaderBlock(body, at, body.length, context.limits);
    if (fields.length > 0) groups.push([...fields]);
    if (bodyStart <= at) {
      const next = body.indexOf(0x0a, at); // a line that is not a field
      at = next < 0 ? body.length : next + 1;
    } else at = bodyStart;
  }
  return groups;
}

/** Splits a value at commas that are not inside comments or quotes. */
export function splitList(value: string): string[] {
  return value
    .replace(/\([^()]*\)/g, " ")
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "")
    .slice(0, 1000);
}

/** `type; value` → value. */
export function afterType(value: string): string {
  const semicolon = value.indexOf(";");
  return (semicolon < 0 ? value : value.slice(semicolon + 1)).trim();
}

export function text(value: string | null, context: ReadContext): string | null {
  return value === null ? null : decodeWords(value).slice(0, context.limits.field);
}

/** Runs the parser of one report; the report is refused when a limit is exceeded. */
export function refusing(kind: "arf" | "dsn", part: PartInfo, read: () => ItemReading): ItemReading {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ReadStop)) throw error;
    return { ok: false, kind, reason: error.reason, detail: error.detail, part };
  }
}

/**
 * Passes a whole report to the sink.
 * @param identity equal for two copies of one report, in any mail
 */
export function deliver(
  report: FeedbackReport | DsnReport,
  identity: unknown,
  figures: Omit<ReportFigures, "warnings" | "droppedRecords" | "kind" | "passMessages">,
  warnings: WarningList,
  { sink, part, context }: PartReading,
): ItemReading {
  const all: ReportFigures = {
    kind: report.kind,
    ...figures,
    passMessages: null,
    droppedRecords: 0,
    warnings: joinWarnings(context.carried, warnings),
  };
  const contentHash = createHash("sha256").update(JSON.stringify(identity)).digest("hex");
  sink.whole(report, all, contentHash, part);
  return { ok: true, figures: all, part };
}
