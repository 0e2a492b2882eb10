/**
 * A streaming tokenizer of XML on bytes: bounded, linear, lenient. It knows no schema: element names are looked up in
 * a table handed in, and what it meets goes to a handler. UTF-8 or any encoding that keeps ASCII; UTF-16 is decoded
 * before. Document types and entities are refused; everything else that is not well-formed is repaired and noted.
 */
import type { WarningList } from "../../model/outcome.ts";
import { ReadStop } from "../context.ts";
import type { XmlText } from "./text.ts";

const LT = 0x3c;
const GT = 0x3e;
const SLASH = 0x2f;
const BANG = 0x21;
const QUESTION = 0x3f;
const QUOTE = 0x22;
const APOSTROPHE = 0x27;
const COLON = 0x3a;
/** No tag or declaration of a report is longer. */
const LONGEST_TAG = 65_536;

/** Names with numbers from 1; 0 is any other name. */
export interface NameTable {
  /** The number of the local name in bytes [start, end), any case. */
  find(bytes: Buffer, start: number, end: number): number;
  name(id: number): string;
  /** True when the bytes at `start` are exactly this name, in lower case. */
  isAt(id: number, bytes: Buffer, start: number): boolean;
}

export function nameTable(names: readonly string[]): NameTable {
  const slots: { bytes: Buffer; id: number }[][] = Array.from({ length: 1024 }, () => []);
  const slotOf = (first: number, last: number, length: number): number =>
    (length * 131 + first * 7 + last * 29) & 1023;
  const encoded = names.map((name) => Buffer.from(name));
  for (const [i, bytes] of encoded.entries()) {
    slots[slotOf(bytes[0]!, bytes.at(-1)!, bytes.length)]!.push({ bytes, id: i + 1 });
  }
  return {
    name: (id) => names[id - 1] ?? "",
    isAt(id, bytes, start) {
      const name = encoded[id - 1]!;
      for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
      return true;
    },
    find(bytes, start, end) {
      const length = end - start;
      if (length === 0) return 0;
      next: for (const slot of slots[slotOf(lower(bytes[start]!), lower(bytes[end - 1]!), length)]!) {
        if (slot.bytes.length !== length) continue;
        for (let i = 0; i < length; i++) if (lower(bytes[start + i]!) !== slot.bytes[i]) continue next;
        return slot.id;
      }
      return 0;
    },
  };
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte;
}

export interface XmlHandler {
  /** @param attributes the raw text of the attributes; "" mostly */
  open(name: number, attributes: string, raw: string): void;
  /** Bytes of character data; asked for only while `wantsText`. */
  text(bytes: Buffer, start: number, end: number, cdata: boolean): void;
  close(name: number): void;
  /** Whether character data matters now; other text is passed over undecoded. */
  readonly wantsText: boolean;
}

export interface TokenizerLimits {
  readonly depth: number;
  readonly attributes: number;
  /** Bytes of one piece of character data; the rest is dropped and noted. */
  readonly text: number;
}

export class XmlTokenizer {
  readonly #handler: XmlHandler;
  readonly #names: NameTable;
  readonly #limits: TokenizerLimits;
  readonly #warnings: WarningList;
  readonly #text: XmlText;
  #rest: Buffer = Buffer.alloc(0);
  /** Dropping character data beyond its limit until the next `<`. */
  #cutting = false;
  /** Numbers of the open elements, and their names where the number is 0. */
  readonly #stack: number[] = [];
  readonly #unknown: string[] = [];
  #rooted = false;
  #done = false;
  #mismatches = 0;
  #started = false;

  constructor(
    handler: XmlHandler,
    names: NameTable,
    limits: TokenizerLimits,
    warnings: WarningList,
    text: XmlText,
  ) {
    this.#handler = handler;
    this.#names = names;
    this.#limits = limits;
    this.#warnings = warnings;
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

  /** End tags that matched nothing open: the structure is damaged. */
  get mismatches(): number {
    return this.#mismatches;
  }

  /** Takes the next bytes. Throws ReadStop: doctype, too-deep, bad-xml. */
  write(chunk: Buffer): void {
    if (this.#done) return;
    if (!this.#started && chunk.length > 0) {
      this.#started = true;
      if (chunk[0]! <= 0x20) this.#warnings.add("leading-text", "blanks");
    }
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const at = this.#run(bytes, false);
    this.#rest = at < bytes.length && !this.#done ? Buffer.from(bytes.subarray(at)) : Buffer.alloc(0);
  }

  /** The bytes have ended. What is open is closed by the caller, who knows what that means. */
  end(): void {
    if (this.#done) return;
    const at = this.#run(this.#rest, true);
    const left = this.#rest.subarray(at);
    if (left.length > 0 && left[0] !== LT) this.#characters(this.#rest, at, this.#rest.length, false);
    this.#rest = Buffer.alloc(0);
  }

  /** Reads tokens as far as they are whole; returns where the first unfinished one begins. */
  #run(bytes: Buffer, last: boolean): number {
    let at = 0;
    while (!this.#done) {
      const lt = bytes.indexOf(LT, at);
      if (lt < 0) return last ? at : this.#holdText(bytes, at);
      if (this.#cutting) this.#cutting = false;
      else if (lt > at) this.#characters(bytes, at, lt, false);
      const next = this.#markup(bytes, lt, last);
      if (next < 0) {
        if (bytes.length - lt > LONGEST_TAG)
          throw new ReadStop("bad-xml", "a tag or comment that does not end");
        return lt;
      }
      at = next;
    }
    if (!this.#warnings.has("trailing-text") && bytes.subarray(at).some((byte) => byte > 0x20)) {
      this.#warnings.add("trailing-text");
    }
    return bytes.length;
  }

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
      for (let i = start; i < end; i++) {
        if (bytes[i]! > 0x20) {
          this.#warnings.add("leading-text");
          return;
        }
      }
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

  /** One piece of markup at `lt`; returns where it ends, -1 when it is not whole yet. */
  #markup(bytes: Buffer, lt: number, last: boolean): number {
    const next = bytes[lt + 1];
    if (next === undefined) return last ? this.#literal(bytes, lt) : -1;
    if (next === SLASH) return this.#closeTag(bytes, lt);
    if (next === BANG) return this.#declaration(bytes, lt, last);
    if (next === QUESTION) return this.#instruction(bytes, lt);
    return this.#openTag(bytes, lt, last);
  }

  /** A `<` that begins no markup is text. */
  #literal(bytes: Buffer, lt: number): number {
    this.#warnings.add("xml-repaired", "a bare <");
    this.#characters(bytes, lt, lt + 1, true);
    return lt + 1;
  }

  #closeTag(bytes: Buffer, lt: number): number {
    // nearly always it is the innermost element, written plainly
    const innermost = this.#stack.at(-1) ?? 0;
    if (innermost > 0 && this.#names.isAt(innermost, bytes, lt + 2)) {
      const end = lt + 2 + this.#names.name(innermost).length;
      if (bytes[end] === GT) {
        this.#pop();
        return end + 1;
      }
    }
    const gt = bytes.indexOf(GT, lt + 2);
    if (gt < 0) return -1;
    let end = gt;
    while (end > lt + 2 && bytes[end - 1]! <= 0x20) end--;
    const start = this.#localStart(bytes, lt + 2, end);
    const id = this.#names.find(bytes, start, end);
    const stack = this.#stack;
    const top = stack.length - 1;
    const isTop =
      top >= 0 &&
      stack[top] === id &&
      (id !== 0 || this.#unknown.at(-1) === bytes.toString("latin1", start, end));
    if (isTop) {
      this.#pop();
      return gt + 1;
    }
    const found = this.#findOpen(id, id === 0 ? bytes.toString("latin1", start, end) : "");
    this.#mismatches++;
    this.#warnings.add(
      "xml-repaired",
      `</${bytes.toString("latin1", start, Math.min(end, start + 100))}> does not match`,
    );
    if (found >= 0) while (stack.length > found && !this.#done) this.#pop();
    return gt + 1;
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

  #localStart(bytes: Buffer, start: number, end: number): number {
    for (let i = end - 1; i > start; i--) if (bytes[i] === COLON) return i + 1;
    return start;
  }

  #openTag(bytes: Buffer, lt: number, last: boolean): number {
    let at = lt + 1;
    for (; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (byte === GT || byte === SLASH || byte <= 0x20) break;
      if (!isNameByte(byte)) return this.#literal(bytes, lt);
    }
    if (at === lt + 1) return at < bytes.length || last ? this.#literal(bytes, lt) : -1;
    if (at >= bytes.length) return last ? bytes.length : -1;
    const nameEnd = at;
    if (bytes[at] === GT) {
      this.#opened(bytes, lt + 1, nameEnd, "", false);
      return at + 1;
    }
    const gt = this.#tagEnd(bytes, at);
    if (gt < 0) return last ? bytes.length : -1;
    const empty = bytes[gt - 1] === SLASH;
    const attributes = this.#text.decode(bytes, nameEnd, empty ? gt - 1 : gt);
    this.#opened(bytes, lt + 1, nameEnd, attributes.trim(), empty);
    return gt + 1;
  }

  /** The `>` that ends a tag: not one inside quotes. */
  #tagEnd(bytes: Buffer, from: number): number {
    let quote = 0;
    let attributes = 0;
    for (let i = from; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (quote !== 0) {
        if (byte === quote) quote = 0;
      } else if (byte === GT) return i;
      else if (byte === QUOTE || byte === APOSTROPHE) {
        quote = byte;
        if (++attributes > this.#limits.attributes)
          throw new ReadStop("bad-xml", "too many attributes on an element");
      }
    }
    return -1;
  }

  #opened(bytes: Buffer, start: number, end: number, attributes: string, empty: boolean): void {
    const from = this.#localStart(bytes, start, end);
    const id = this.#names.find(bytes, from, end);
    this.#rooted = true;
    if (this.#stack.length >= this.#limits.depth)
      throw new ReadStop("too-deep", "elements inside each other");
    this.#stack.push(id);
    const raw =
      id === 0 || attributes !== "" || this.#stack.length === 1
        ? bytes.toString("latin1", from, Math.min(end, from + 100))
        : "";
    if (id === 0) this.#unknown.push(bytes.toString("latin1", from, end));
    else if (bytes[from]! <= 0x5a) this.#warnings.add("tag-case", bytes.toString("latin1", from, end));
    this.#handler.open(id, attributes, raw);
    if (empty) this.#pop();
  }

  #declaration(bytes: Buffer, lt: number, last: boolean): number {
    const head = bytes.toString("latin1", lt, lt + 9);
    if (head.length < 9 && !last && ("<![CDATA[".startsWith(head) || "<!--".startsWith(head))) return -1;
    if (head.startsWith("<!--")) {
      const end = bytes.indexOf("-->", lt + 4);
      return end < 0 ? -1 : end + 3;
    }
    if (head === "<![CDATA[") {
      const end = bytes.indexOf("]]>", lt + 9);
      if (end < 0) return -1;
      this.#characters(bytes, lt + 9, end, true);
      return end + 3;
    }
    if (head.length < 9 && !last) return -1;
    throw new ReadStop("doctype", bytes.toString("latin1", lt, lt + 40));
  }

  #instruction(bytes: Buffer, lt: number): number {
    const end = bytes.indexOf("?>", lt + 2);
    if (end < 0) return -1;
    const encoding = /^\?xml\s[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']/i.exec(
      bytes.toString("latin1", lt + 1, Math.min(end, lt + 300)),
    );
    if (encoding && !this.#rooted) this.#text.declare(encoding[1]!);
    return end + 2;
  }
}

/** Bytes of element names; anything else makes the `<` a piece of text. */
function isNameByte(byte: number): boolean {
  return (
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x5f ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x30 && byte <= 0x39) ||
    byte === COLON ||
    byte === 0x2d ||
    byte === 0x2e ||
    byte >= 0x80
  );
}
