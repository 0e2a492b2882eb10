/** Header-like fields of feedback and delivery-status parts, and what all readers of such reports need. */
import { createHash } from "node:crypto";
import type { WarningList } from "../model/outcome.ts";
import type { ItemReading, MailHeaders, PartInfo, ReportSink } from "../model/reading.ts";
import type { DsnReport, FeedbackReport, ReportFigures } from "../model/report.ts";
import type { ReadContext } from "./context.ts";
import { decodeWords, type Field, readHeaderBlock } from "./mime/headers.ts";
import { bodyOf, type Part } from "./mime/parts.ts";

/** A report that is a whole part of a mail, and what is around it. */
export interface PartReading {
  readonly bytes: Buffer;
  /** The siblings, the report part among them. */
  readonly parts: readonly Part[];
  readonly headers: MailHeaders | null;
  readonly context: ReadContext;
  readonly sink: ReportSink;
  readonly part: PartInfo;
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
      const next = body.indexOf(0x0a, at); // a line that is no field
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

/** Hands a whole report to the sink. */
export function deliver(
  report: FeedbackReport | DsnReport,
  figures: Omit<ReportFigures, "warnings" | "droppedRecords" | "kind" | "passMessages">,
  warnings: WarningList,
  { sink, part }: PartReading,
): ItemReading {
  const all: ReportFigures = {
    kind: report.kind,
    ...figures,
    passMessages: null,
    droppedRecords: 0,
    warnings: warnings.list(),
  };
  const contentHash = createHash("sha256").update(JSON.stringify(report)).digest("hex");
  return { ok: true, figures: all, kept: sink.whole(report, all, contentHash, part), part };
}
