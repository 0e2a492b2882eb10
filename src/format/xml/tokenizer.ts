/**
 * A streaming tokenizer of XML on bytes: bounded, linear, lenient. It knows no schema: element names are looked up in
 * a table handed in, and what it meets goes to a handler. UTF-8 or any encoding that keeps ASCII; UTF-16 is decoded
 * before. Document types and entities are refused; everything else that is not well-formed is corrected and noted.
 * The result does not depend on how the bytes are cut into chunks.
 */
import type { WarningList } from "../../model/outcome.ts";
import { ReadStop } from "../context.ts";
import { COST, type Effort } from "./effort.ts";
import type { NameTable } from "./names.ts";
import type { XmlText } from "./text.ts";

const LT = 0x3c;
const GT = 0x3e;
const SLASH = 0x2f;
const BANG = 0x21;
const QUESTION = 0x3f;
const QUOTE = 0x22;
const APOSTROPHE = 0x27;
const COLON = 0x3a;
const UPPER_Z = 0x5a;
const BLANK = 0x20;
/** No tag of a report is longer. */
const LONGEST_TAG = 65_536;
/** Bytes of an instruction that are looked at: the XML declaration is short. */
const LONGEST_DECLARATION = 1024;
/** Characters of an element's name that are told. */
const TOLD = 100;
/** Up to here a loop is faster than a call into the engine. */
const NEAR = 64;

/** What a byte can be in an element's name: the first of one (1), a later one (2), its prefix's end (3), no part (0). */
const NAME = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte === COLON) return 3;
  if (byte >= 0x80 || /[A-Za-z_]/.test(String.fromCharCode(byte))) return 1;
  return /[0-9.-]/.test(String.fromCharCode(byte)) ? 2 : 0;
});

export interface XmlHandler {
  /**
   * @param name the number of the local name
   * @param attributes the raw text of the attributes; "" mostly
   * @param raw the name as written, prefix included; "" unless it is unknown, has attributes, or `wantsNames`
   */
  open(name: number, attributes: string, raw: string): void;
  /** Bytes of character data; called only while `wantsText`. */
  text(bytes: Buffer, start: number, end: number, cdata: boolean): void;
  close(name: number): void;
  /** Whether character data matters now; other text is skipped undecoded. */
  readonly wantsText: boolean;
  readonly wantsNames: boolean;
}

export interface TokenizerLimits {
  readonly depth: number;
  readonly attributes: number;
  /** Bytes of one piece of character data; the rest is dropped and noted. */
  readonly text: number;
}

/** Settings of a document, besides its handler. */
export interface TokenizerTools {
  readonly names: NameTable;
  readonly limits: TokenizerLimits;
  readonly warnings: WarningList;
  readonly effort: Effort;
  readonly text: XmlText;
}

export class XmlTokenizer {
  readonly #handler: XmlHandler;
  readonly #names: NameTable;
  readonly #limits: TokenizerLimits;
  readonly #warnings: WarningList;
  readonly #effort: Effort;
  readonly #text: XmlText;
  /** The begin of a token that is not whole yet. */
  #rest: Buffer = Buffer.alloc(0);
  /** What ends the comment, instruction or overlong CDATA section that is skipped; "" outside of these. */
  #passing = "";
  /** Dropping character data beyond its limit until the next `<`. */
  #cutting = false;
  /** Numbers of the open elements, and their names where the number is 0. */
  readonly #stack: number[] = [];
  readonly #unknown: string[] = [];
  #rooted = false;
  #done = false;
  #mismatches = 0;
  #started = false;

  constructor(handler: XmlHandler, { names, limits, warnings, effort, text }: TokenizerTools) {
    this.#handler = handler;
    this.#names = names;
    this.#limits = limits;
    this.#warnings = warnings;
    this.#effort = effort;
    this.#text = text;
  }

  /** The root element has ended; nothing after it is read. */
  get done(): boolean {
    return this.#done;
  }

  /** A root element was seen. */
  get rooted(): boolean {
    return this.#rooted;
  }

  /** End tags that match no open element: the structure is damaged. */
  get mismatches(): number {
    return this.#mismatches;
  }

  /** Processes the next bytes. Throws ReadStop: doctype, too-deep, bad-xml. */
  write(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (this.#done) {
      this.#trailing(chunk, 0);
      return;
    }
    if (!this.#started) {
      this.#started = true;
      if (chunk[0]! <= BLANK) this.#warnings.add("leading-text", "blanks");
    }
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const at = this.#run(bytes, false);
    if (this.#done) this.#trailing(bytes, at);
    this.#rest = at < bytes.length && !this.#done ? Buffer.from(bytes.subarray(at)) : Buffer.alloc(0);
  }

  /** The bytes have ended. Open elements are left to the caller. */
  end(): void {
    if (this.#done || this.#rest.length === 0) return;
    const bytes = this.#rest;
    this.#rest = Buffer.alloc(0);
    const at = this.#run(bytes, true);
    if (at < bytes.length && bytes[at] !== LT && this.#passing === "") {
      this.#characters(bytes, at, bytes.length, false);
    }
  }

  /** Reads tokens as far as they are whole; returns where the first unfinished one begins. */
  #run(bytes: Buffer, last: boolean): number {
    let at = 0;
    while (!this.#done) {
      const next = this.#passing === "" ? this.#token(bytes, at, last) : this.#passOn(bytes, at);
      const end = next < 0 ? ~next : next;
      this.#effort.earn(end - at);
      at = end;
      if (next < 0) break;
    }
    return at;
  }

  /** Text and the markup behind it. Returns where they end; the complement of that when more bytes are needed. */
  #token(bytes: Buffer, at: number, last: boolean): number {
    const lt = findByte(LT, bytes, at);
    if (lt < 0) return ~(last ? at : this.#holdText(bytes, at));
    if (this.#cutting) this.#cutting = false;
    else if (lt > at) this.#characters(bytes, at, lt, false);
    const next = this.#markup(bytes, lt, last);
    return next < 0 ? ~lt : next;
  }

  /** The same for content that is skipped. */
  #passOn(bytes: Buffer, at: number): number {
    const mark = this.#passing;
    const end = bytes.indexOf(mark, at);
    if (end < 0) return ~Math.max(at, bytes.length - mark.length + 1);
    this.#passing = "";
    return end + mark.length;
  }

  /** Text after the root: blanks and NULs are ignored, the rest is noted. */
  #trailing(bytes: Buffer, from: number): void {
    if (this.#warnings.has("trailing-text")) return;
    for (let i = from; i < bytes.length; i++) {
      if (bytes[i]! > BLANK) {
        this.#warnings.add("trailing-text");
        return;
      }
    }
  }

  // ---- character data --------------------------------------------------------------

  /** Character data without an end yet: kept until its limit, then cut. */
  #holdText(bytes: Buffer, at: number): number {
    if (this.#cutting) return bytes.length;
    if (bytes.length - at <= this.#limits.text) return at;
    this.#characters(bytes, at, bytes.length, false);
    this.#cutting = true;
    return bytes.length;
  }

  #characters(bytes: Buffer, start: number, end: number, cdata: boolean): void {
    if (!this.#rooted) {
      this.#leading(bytes, start, end);
      return;
    }
    if (!this.#handler.wantsText) return;
    let stop = end;
    if (end - start > this.#limits.text) {
      stop = start + this.#limits.text;
      while (stop > start && (bytes[stop]! & 0xc0) === 0x80) stop--; // not inside a UTF-8 sequence
      this.#warnings.add("field-cut");
    }
    this.#handler.text(bytes, start, stop, cdata);
  }

  #leading(bytes: Buffer, start: number, end: number): void {
    if (this.#warnings.has("leading-text")) return;
    for (let i = start; i < end; i++) {
      if (bytes[i]! > BLANK) {
        this.#warnings.add("leading-text");
        return;
      }
    }
  }

  // ---- markup ------------------------------------------------------------------------

  /** One piece of markup at `lt`; returns where it ends, -1 when it is not whole yet. */
  #markup(bytes: Buffer, lt: number, last: boolean): number {
    const next = bytes[lt + 1];
    if (next === SLASH) return this.#closeTag(bytes, lt, last);
    if (next === BANG) return this.#declaration(bytes, lt, last);
    if (next === QUESTION) return this.#instruction(bytes, lt, last);
    if (next === undefined) return last ? this.#literal(bytes, lt) : -1;
    return this.#openTag(bytes, lt, last);
  }

  #repaired(detail: string): void {
    this.#effort.spend(COST.repair);
    this.#warnings.add("xml-repaired", detail);
  }

  /** A `<` that begins no markup is text. */
  #literal(bytes: Buffer, lt: number): number {
    this.#repaired("a bare <");
    this.#characters(bytes, lt, lt + 1, true);
    return lt + 1;
  }

  #closeTag(bytes: Buffer, lt: number, last: boolean): number {
    // nearly always it is the innermost element, written plainly
    const innermost = this.#stack.at(-1) ?? 0;
    if (innermost > 0 && this.#names.isAt(innermost, bytes, lt + 2)) {
      const end = lt + 2 + this.#names.name(innermost).length;
      if (bytes[end] === GT) {
        this.#pop();
        return end + 1;
      }
    }
    const to = this.#closeTagEnd(bytes, lt + 2);
    if (to < 0 && !last) return -1;
    const end = to < 0 ? bytes.length : to;
    this.#closeNamed(bytes, lt + 2, end);
    return bytes[end] === GT ? end + 1 : end;
  }

  /** Where an end tag ends; one that another tag follows at once has lost its `>`. */
  #closeTagEnd(bytes: Buffer, from: number): number {
    const most = Math.min(bytes.length, from + LONGEST_TAG);
    for (let i = from; i < most; i++) if (bytes[i] === GT || bytes[i] === LT) return i;
    if (most < bytes.length) throw new ReadStop("bad-xml", "a tag that does not end");
    return -1;
  }

  #closeNamed(bytes: Buffer, from: number, to: number): void {
    let end = to;
    while (end > from && bytes[end - 1]! <= BLANK) end--;
    const start = localStart(bytes, from, end);
    const id = this.#names.find(bytes, start, end);
    const name = id === 0 ? bytes.toString("latin1", start, end) : "";
    const open = this.#findOpen(id, name);
    if (open === this.#stack.length - 1 && open >= 0 && bytes[to] === GT) {
      this.#pop();
      return;
    }
    this.#mismatches++;
    this.#repaired(`</${bytes.toString("latin1", start, Math.min(end, start + TOLD))}> does not match`);
    if (open >= 0) while (this.#stack.length > open && !this.#done) this.#pop();
  }

  /** The innermost open element with this name. */
  #findOpen(id: number, name: string): number {
    let unknown = this.#unknown.length;
    for (let i = this.#stack.length - 1; i >= 0; i--) {
      if (this.#stack[i] === 0) unknown--;
      if (this.#stack[i] === id && (id !== 0 || this.#unknown[unknown] === name)) return i;
    }
    return -1;
  }

  #pop(): void {
    const id = this.#stack.pop()!;
    if (id === 0) this.#unknown.pop();
    this.#handler.close(id);
    if (this.#stack.length === 0) this.#done = true;
  }

  #openTag(bytes: Buffer, lt: number, last: boolean): number {
    const start = lt + 1;
    if (NAME[bytes[start]!] !== 1) return this.#literal(bytes, lt);
    let at = start + 1;
    let from = start;
    for (; at < bytes.length; at++) {
      const kind = NAME[bytes[at]!];
      if (kind === 0) break;
      if (kind === 3) from = at + 1;
    }
    if (at - start > LONGEST_TAG) throw new ReadStop("bad-xml", "a tag that does not end");
    const byte = bytes[at];
    if (byte === GT) {
      this.#opened(bytes, start, from, at, "");
      return at + 1;
    }
    if (byte === undefined) return last ? bytes.length : -1;
    if (byte !== SLASH && byte > BLANK) return this.#literal(bytes, lt);
    const end = this.#tagEnd(bytes, at);
    if (end < 0) return last ? bytes.length : -1;
    if (bytes[end] === LT) return this.#literal(bytes, lt);
    const empty = bytes[end - 1] === SLASH;
    const stop = empty ? end - 1 : end;
    const attributes = stop > at ? this.#text.decode(bytes, at, stop, false).trim() : "";
    this.#opened(bytes, start, from, at, attributes);
    if (empty) this.#pop();
    return end + 1;
  }

  /** The `>` that ends a tag, not one inside quotes; or the `<` that shows that it is none. */
  #tagEnd(bytes: Buffer, from: number): number {
    const most = Math.min(bytes.length, from + LONGEST_TAG);
    let quote = 0;
    let attributes = 0;
    for (let i = from; i < most; i++) {
      const byte = bytes[i]!;
      if (quote !== 0) {
        if (byte === quote) quote = 0;
      } else if (byte === GT || byte === LT) return i;
      else if (byte === QUOTE || byte === APOSTROPHE) {
        quote = byte;
        if (++attributes > this.#limits.attributes)
          throw new ReadStop("bad-xml", "too many attributes on an element");
      }
    }
    if (most < bytes.length) throw new ReadStop("bad-xml", "a tag that does not end");
    return -1;
  }

  /** @param from where the local name begins */
  #opened(bytes: Buffer, start: number, from: number, end: number, attributes: string): void {
    const id = this.#names.find(bytes, from, end);
    this.#effort.spend(id === 0 ? COST.element + COST.stranger : COST.element);
    this.#rooted = true;
    if (this.#stack.length >= this.#limits.depth)
      throw new ReadStop("too-deep", "elements inside each other");
    this.#stack.push(id);
    let raw = "";
    if (id === 0 || attributes !== "" || this.#handler.wantsNames) {
      raw = bytes.toString("latin1", start, Math.min(end, start + TOLD));
    }
    if (id === 0) this.#unknown.push(bytes.toString("latin1", from, end));
    else if (bytes[from]! <= UPPER_Z) {
      const seen = this.#warnings.has("tag-case");
      this.#warnings.add("tag-case", seen ? null : bytes.toString("latin1", from, end));
    }
    this.#handler.open(id, attributes, raw);
  }

  #declaration(bytes: Buffer, lt: number, last: boolean): number {
    const head = bytes.toString("latin1", lt, lt + 9);
    if (head.startsWith("<!--")) return this.#pass(lt + 4, "-->");
    if (head === "<![CDATA[") return this.#cdata(bytes, lt + 9, last);
    if (!last && head.length < 9 && ("<![CDATA[".startsWith(head) || "<!--".startsWith(head))) return -1;
    if (!last && bytes.length < lt + 40 && bytes.indexOf(GT, lt) < 0) return -1; // so that the detail is whole
    throw new ReadStop("doctype", bytes.toString("latin1", lt, lt + 40));
  }

  #cdata(bytes: Buffer, start: number, last: boolean): number {
    const end = bytes.indexOf("]]>", start);
    if (end >= 0) {
      this.#effort.spend(COST.cdata);
      this.#characters(bytes, start, end, true);
      return end + 3;
    }
    if (last) return bytes.length;
    if (bytes.length - start <= this.#limits.text + 3) return -1;
    this.#characters(bytes, start, bytes.length, true);
    this.#passing = "]]>";
    return start;
  }

  /** Skips content up to `mark`; it may be long. */
  #pass(from: number, mark: string): number {
    this.#effort.spend(COST.stranger);
    this.#passing = mark;
    return from;
  }

  #instruction(bytes: Buffer, lt: number, last: boolean): number {
    if (!this.#rooted && !this.#readDeclaration(bytes, lt) && !last) return -1;
    return this.#pass(lt + 2, "?>");
  }

  /** Gets the encoding from an XML declaration; false when the declaration is not complete yet. */
  #readDeclaration(bytes: Buffer, lt: number): boolean {
    const head = bytes.toString("latin1", lt + 2, Math.min(bytes.length, lt + LONGEST_DECLARATION));
    const end = head.indexOf("?>");
    if (end < 0) return head.length >= LONGEST_DECLARATION - 2;
    const encoding = /^xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']/i.exec(head.slice(0, end));
    if (encoding) this.#text.declare(encoding[1]!);
    return true;
  }
}

/** The place of `byte` at or after `from`; -1 when it is not there. */
function findByte(byte: number, bytes: Buffer, from: number): number {
  const near = Math.min(bytes.length, from + NEAR);
  for (let i = from; i < near; i++) if (bytes[i] === byte) return i;
  return near < bytes.length ? bytes.indexOf(byte, near) : -1;
}

/** Where the local name of [start, end) begins: behind its prefix. */
function localStart(bytes: Buffer, start: number, end: number): number {
  for (let i = end - 1; i > start; i--) if (bytes[i] === COLON) return i + 1;
  return start;
}
