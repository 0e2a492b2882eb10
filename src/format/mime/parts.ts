/** Walks the parts of a mail (RFC 2046), bounded in number, depth and header size; damaged structure is repaired. */
import type { IngestLimits } from "../../config/schema.ts";
import type { WarningList } from "../../model/outcome.ts";
import { ReadStop } from "../context.ts";
import { decodeBody } from "./body.ts";
import { decodeWords, type Field, firstField, lineEnd, readHeaderBlock, readParameters } from "./headers.ts";

/** A part of a mail: its header fields and where its body lies. */
export interface Part {
  readonly fields: readonly Field[];
  /** Lower case; "" when there is no Content-Type. */
  readonly mediaType: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly fileName: string | null;
  readonly encoding: string;
  readonly start: number;
  readonly end: number;
  /** Of a multipart; empty for leaves. */
  readonly children: readonly Part[];
}

export interface PartTree {
  readonly root: Part;
  /** Why the walk ended early; the parts found until then are in the tree. */
  readonly stopped: ReadStop | null;
}

/** The bytes of a part's body, decoded. */
export function bodyOf(bytes: Buffer, part: Part): Iterable<Buffer> {
  return decodeBody(bytes, part.start, part.end, part.encoding);
}

/** Reads the structure of a mail or forwarded message in bytes [start, end). Throws ReadStop for its own header. */
export function readParts(
  bytes: Buffer,
  limits: IngestLimits,
  warnings: WarningList,
  counter: { parts: number } = { parts: 0 },
): PartTree {
  const walker = new Walker(bytes, limits, warnings, counter);
  return { root: walker.part(0, bytes.length, 0), stopped: walker.stopped };
}

class Walker {
  readonly #bytes: Buffer;
  readonly #limits: IngestLimits;
  readonly #warnings: WarningList;
  readonly #counter: { parts: number };
  stopped: ReadStop | null = null;

  constructor(bytes: Buffer, limits: IngestLimits, warnings: WarningList, counter: { parts: number }) {
    this.#bytes = bytes;
    this.#limits = limits;
    this.#warnings = warnings;
    this.#counter = counter;
  }

  part(start: number, end: number, depth: number): Part {
    const { fields, bodyStart } = readHeaderBlock(this.#bytes, start, end, this.#limits);
    const { value: mediaType, parameters } = readParameters(firstField(fields, "content-type") ?? "");
    const disposition = readParameters(firstField(fields, "content-disposition") ?? "");
    const fileName = disposition.parameters.get("filename") ?? parameters.get("name") ?? null;
    const encoding = (firstField(fields, "content-transfer-encoding") ?? "")
      .replace(/[;\s].*$/, "")
      .toLowerCase();
    const boundary = parameters.get("boundary");
    const inner =
      mediaType.startsWith("multipart/") && boundary ? this.#children(boundary, bodyStart, end, depth) : [];
    return {
      fields,
      mediaType,
      parameters,
      fileName: fileName === null ? null : decodeWords(fileName).slice(0, 1000),
      encoding,
      start: bodyStart,
      end,
      children: inner,
    };
  }

  #children(boundary: string, start: number, end: number, depth: number): Part[] {
    if (depth >= this.#limits.mime_depth) {
      this.stopped ??= new ReadStop("too-deep", "multiparts inside each other");
      return [];
    }
    const children: Part[] = [];
    for (const [from, to] of this.#ranges(boundary, start, end)) {
      if (this.stopped) break;
      if (++this.#counter.parts > this.#limits.mime_parts) {
        this.stopped = new ReadStop("too-many-parts", `over ${this.#limits.mime_parts}`);
        break;
      }
      try {
        children.push(this.part(from, to, depth + 1));
      } catch (error) {
        if (!(error instanceof ReadStop)) throw error;
        this.stopped ??= error;
      }
    }
    return children;
  }

  /** The byte ranges between boundary lines; a missing last one is repaired. */
  *#ranges(boundary: string, start: number, end: number): Generator<[number, number]> {
    const delimiter = Buffer.from(`--${boundary}`, "latin1");
    let from = -1;
    let at = start;
    for (;;) {
      const found = this.#bytes.indexOf(delimiter, at);
      if (found < 0 || found >= end) break;
      at = found + delimiter.length;
      const atLineStart = found === start || this.#bytes[found - 1] === 0x0a;
      if (!atLineStart) continue;
      const closing = this.#bytes[at] === 0x2d && this.#bytes[at + 1] === 0x2d;
      const next = lineEnd(this.#bytes, at, end);
      if (!/^(?:--)?[ \t]*\r?\n?$/.test(this.#bytes.toString("latin1", at, Math.min(next, at + 200))))
        continue;
      if (from >= 0) yield [from, beforeLineBreak(this.#bytes, from, found)];
      if (closing) return;
      from = next;
    }
    if (from >= 0) {
      this.#warnings.add("mime-repaired", "no closing boundary");
      yield [from, end];
    }
  }
}

/** The line break before a boundary belongs to the boundary (RFC 2046 5.1.1). */
function beforeLineBreak(bytes: Buffer, from: number, boundary: number): number {
  let end = boundary;
  if (end > from && bytes[end - 1] === 0x0a) end--;
  if (end > from && bytes[end - 1] === 0x0d) end--;
  return end;
}
