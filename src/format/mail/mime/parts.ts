/**
 * Walks the parts of a mail (RFC 2046) in one pass, bounded in number, depth and header size; damaged structure is
 * corrected.
 */
import type { IngestLimits } from "../../../config/schema.ts";
import type { WarningList } from "../../../model/outcome.ts";
import { ReadStop } from "../../context.ts";
import { decodeBody, type Encoding, encodingOf } from "./body.ts";
import { type Field, firstField, lineEnd, readHeaderBlock, readParameters } from "./headers.ts";

/** A part of a mail: its header fields and where its body lies. */
export interface Part {
  readonly fields: readonly Field[];
  /** Lower case; "" when there is no Content-Type. */
  readonly mediaType: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly fileName: string | null;
  /** The encoding that the bytes really have. */
  readonly encoding: Encoding;
  readonly start: number;
  readonly end: number;
  /** Of a multipart; empty for leaves. */
  readonly children: readonly Part[];
}

export interface PartTree {
  readonly root: Part;
  /** Why the walk ended early or a part was skipped; all other parts are in the tree. */
  readonly stopped: ReadStop | null;
}

/** The bytes of a part's body, decoded. */
export function bodyOf(bytes: Buffer, part: Part): Iterable<Buffer> {
  return decodeBody(bytes, part.start, part.end, part.encoding);
}

/**
 * Parses the structure of a mail or forwarded message. Throws ReadStop for its own header.
 * @param counter parts of the whole mail, forwarded messages included
 */
export function readParts(
  bytes: Buffer,
  limits: IngestLimits,
  warnings: WarningList,
  counter: { parts: number } = { parts: 0 },
): PartTree {
  const walker = new Walker(bytes, limits, warnings, counter);
  return { root: walker.walk(), stopped: walker.stopped };
}

const LINE_DASHES = Buffer.from("\n--");
/** Longer boundaries are ignored (RFC 2046 5.1.1 allows 70 characters). */
const LONGEST_BOUNDARY = 1000;
/** Multiparts down to here have a boundary guessed when the declared one is not there. */
const GUESSED_DEPTH = 1;

/** Maximum number of lines that look like boundaries and are none; each costs a lookup. No report has that many. */
const MOST_MISSES = 100_000;

/** A boundary line: its begin, its multipart, and the begin of the next line. */
interface Delimiter {
  readonly start: number;
  readonly next: number;
  /** Depth of the multipart that it divides. */
  readonly level: number;
  readonly closing: boolean;
}

/**
 * One cursor runs through the mail. Whenever a line begins with `--`, it is looked up among the boundaries of all open
 * multiparts, so that the line of an outer one ends all inner ones, and the work is linear at any nesting.
 */
class Walker {
  readonly #bytes: Buffer;
  readonly #limits: IngestLimits;
  readonly #warnings: WarningList;
  readonly #counter: { parts: number };
  /** Boundary → depth of the innermost open multipart that has it. */
  readonly #open = new Map<string, number>();
  #ended: Delimiter | undefined;
  #over = false;
  #misses = 0;
  stopped: ReadStop | null = null;

  constructor(bytes: Buffer, limits: IngestLimits, warnings: WarningList, counter: { parts: number }) {
    this.#bytes = bytes;
    this.#limits = limits;
    this.#warnings = warnings;
    this.#counter = counter;
  }

  walk(): Part {
    return this.#part(0, 0);
  }

  /** Parses the part at `start`, up to the delimiter that is then in `#ended`. Throws ReadStop for its header. */
  #part(start: number, depth: number): Part {
    const bytes = this.#bytes;
    const { fields, bodyStart } = readHeaderBlock(
      bytes,
      start,
      bytes.length,
      this.#limits,
      (line) => this.#delimiterAt(line) !== undefined,
    );
    const { value: mediaType, parameters } = readParameters(firstField(fields, "content-type") ?? "");
    const disposition = readParameters(firstField(fields, "content-disposition") ?? "");
    const name = disposition.parameters.get("filename") ?? parameters.get("name") ?? null;
    const children = mediaType.startsWith("multipart/")
      ? this.#multipart(parameters.get("boundary") ?? "", bodyStart, depth)
      : undefined;
    if (!children) this.#ended = this.#nextDelimiter(bodyStart);
    const last = this.#ended ? beforeLineBreak(bytes, bodyStart, this.#ended.start) : bytes.length;
    const end = children && children.length === 0 ? bodyStart : last;
    const label = (firstField(fields, "content-transfer-encoding") ?? "")
      .replace(/[;\s(].*$/, "")
      .toLowerCase();
    const encoding = children ? "none" : encodingOf(bytes, bodyStart, end, label);
    if (!children && (encoding === "base64") !== (label === "base64") && end > bodyStart) {
      this.#warnings.add("mislabeled-content", `Content-Transfer-Encoding: ${label}`);
    }
    return {
      fields,
      mediaType,
      parameters,
      fileName: name === null ? null : name.slice(0, 1000),
      encoding,
      start: bodyStart,
      end,
      children: children ?? [],
    };
  }

  /** The children of a multipart; undefined when no boundary line is found and nothing can be divided. */
  #multipart(declared: string, start: number, depth: number): Part[] | undefined {
    if (depth >= this.#limits.mime_depth) {
      this.stopped ??= new ReadStop("too-deep", "multiparts inside each other");
      this.#ended = this.#nextDelimiter(start);
      return []; // its body is skipped
    }
    const found = declared === "" ? undefined : this.#children(declared, start, depth);
    if (found || depth > GUESSED_DEPTH) return found;
    const guess = this.#guess(start);
    if (guess === undefined) return undefined;
    this.#warnings.add("mime-repaired", "another boundary than declared");
    return this.#children(guess, start, depth);
  }

  #children(boundary: string, start: number, depth: number): Part[] | undefined {
    const name = boundary.trimEnd().slice(0, LONGEST_BOUNDARY);
    const outer = this.#open.get(name);
    this.#open.set(name, depth);
    try {
      return this.#between(start, depth);
    } finally {
      if (outer === undefined) this.#open.delete(name);
      else this.#open.set(name, outer);
    }
  }

  #between(start: number, depth: number): Part[] | undefined {
    let at = this.#nextDelimiter(start);
    if (at?.level !== depth) {
      this.#ended = at;
      return undefined;
    }
    const children: Part[] = [];
    while (at?.level === depth && !at.closing && !this.#over) {
      if (++this.#counter.parts > this.#limits.mime_parts) {
        this.stopped ??= new ReadStop("too-many-parts", `over ${this.#limits.mime_parts}`);
        this.#over = true;
        break;
      }
      this.#child(at.next, depth + 1, children);
      at = this.#ended;
    }
    if (this.#over) this.#ended = undefined;
    else if (at?.level === depth) this.#ended = this.#outerDelimiter(at.next, depth);
    else {
      this.#warnings.add("mime-repaired", "no closing boundary");
      this.#ended = at;
    }
    return children;
  }

  /** A part whose header is beyond all limits is skipped; those after it are not. */
  #child(start: number, depth: number, children: Part[]): void {
    try {
      children.push(this.#part(start, depth));
    } catch (error) {
      if (!(error instanceof ReadStop)) throw error;
      this.stopped ??= error;
      this.#ended = this.#nextDelimiter(start);
    }
  }

  /** Text after a closing boundary up to the next one of an outer multipart is ignored (RFC 2046 5.1.1). */
  #outerDelimiter(from: number, depth: number): Delimiter | undefined {
    let at = this.#nextDelimiter(from);
    while (at && at.level >= depth) at = this.#nextDelimiter(at.next);
    return at;
  }

  /** The first line that looks like a boundary, close to the begin. */
  #guess(start: number): string | undefined {
    const head = this.#bytes.toString("latin1", start, start + 4096);
    return /^--(?!-)([^\s-][^\r\n]{7,200})\r?$/m.exec(head)?.[1]?.trimEnd();
  }

  #nextDelimiter(from: number): Delimiter | undefined {
    if (this.#open.size === 0) return undefined;
    const bytes = this.#bytes;
    let at = from;
    while (at < bytes.length && !this.#over) {
      const atLineStart = at === 0 || bytes[at - 1] === 0x0a;
      const found = atLineStart ? this.#delimiterAt(at) : undefined;
      if (found) return found;
      const line = bytes.indexOf(LINE_DASHES, at);
      if (line < 0) return undefined;
      at = line + 1;
      const delimiter = this.#delimiterAt(at);
      if (delimiter) return delimiter;
      at += 2;
    }
    return undefined;
  }

  /** The boundary line at `start`; undefined when it is another line. */
  #delimiterAt(start: number): Delimiter | undefined {
    const bytes = this.#bytes;
    if (bytes[start] !== 0x2d || bytes[start + 1] !== 0x2d) return undefined;
    const next = lineEnd(bytes, start, bytes.length);
    const text = bytes
      .toString("latin1", start + 2, Math.min(next, start + LONGEST_BOUNDARY + 100))
      .trimEnd();
    const level = this.#open.get(text);
    if (level !== undefined) return { start, next, level, closing: false };
    const closes = text.endsWith("--") ? this.#open.get(text.slice(0, -2)) : undefined;
    if (closes !== undefined) return { start, next, level: closes, closing: true };
    if (++this.#misses > MOST_MISSES) {
      this.stopped ??= new ReadStop("too-many-parts", "lines that are nearly boundaries");
      this.#over = true;
    }
    return undefined;
  }
}

/** The line break before a boundary belongs to the boundary (RFC 2046 5.1.1). */
function beforeLineBreak(bytes: Buffer, from: number, boundary: number): number {
  let end = boundary;
  if (end > from && bytes[end - 1] === 0x0a) end--;
  if (end > from && bytes[end - 1] === 0x0d) end--;
  return end;
}
