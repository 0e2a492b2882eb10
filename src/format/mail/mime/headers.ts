/** Header blocks of mails and parts (RFC 5322, 2045, 2047, 2231): bounded, linear, tolerant. */
import { ReadStop } from "../../context.ts";

interface HeaderLimits {
  readonly header_size: number;
  readonly header_fields: number;
}

/** Bytes of one field that are used. */
const LONGEST_FIELD = 65_536;

export interface Field {
  /** Lower case. */
  readonly name: string;
  /** Unfolded, trimmed, not decoded; each byte a character (Latin-1). */
  readonly value: string;
}

export interface HeaderBlock {
  readonly fields: readonly Field[];
  /** Where the body begins. */
  readonly bodyStart: number;
}

const LF = 0x0a;
const CR = 0x0d;
const DASH = 0x2d;
const MARK = 0x3e;

/** `From ` line of an mbox, which is not a field. */
function isMboxLine(bytes: Buffer, at: number): boolean {
  return bytes[at] === 0x46 && bytes.toString("latin1", at, at + 5) === "From ";
}

/**
 * Parses the header block at `start`. A line that is not a field ends the block, as if the empty line were missing; so
 * does one that `ends` knows (a boundary). Throws ReadStop `too-large` for a block over its limits.
 */
export function readHeaderBlock(
  bytes: Buffer,
  start: number,
  end: number,
  limits: HeaderLimits,
  ends?: (lineStart: number) => boolean,
): HeaderBlock {
  const fields: { name: string; value: string }[] = [];
  let at = start;
  if (isMboxLine(bytes, at)) at = lineEnd(bytes, at, end);
  while (at < end) {
    const first = bytes[at]!;
    if (first === DASH && ends?.(at)) return { fields, bodyStart: at };
    const next = lineEnd(bytes, at, end);
    if (next - start > limits.header_size) throw new ReadStop("too-large", "a header block");
    if (first === LF || (first === CR && bytes[at + 1] === LF)) return { fields, bodyStart: next };
    if (first === MARK && isMboxLine(bytes, at + 1)) {
      at = next; // quoted by a program that kept the mail in an mbox
      continue;
    }
    const line = bytes.toString("latin1", at, Math.min(next, at + LONGEST_FIELD)).replace(/[\r\n]+$/, "");
    if ((first === 0x20 || first === 0x09) && fields.length > 0) {
      const last = fields.at(-1)!;
      if (last.value.length < LONGEST_FIELD) last.value += ` ${line.trim()}`;
    } else {
      const colon = line.indexOf(":");
      const name = colon > 0 ? line.slice(0, colon).trimEnd() : "";
      if (name === "" || !/^[\x21-\x39\x3b-\x7e]+$/.test(name)) return { fields, bodyStart: at };
      if (fields.length >= limits.header_fields) throw new ReadStop("too-large", "header fields");
      fields.push({ name: name.toLowerCase(), value: line.slice(colon + 1).trim() });
    }
    at = next;
  }
  return { fields, bodyStart: end };
}

/** The begin of the next line. */
export function lineEnd(bytes: Buffer, at: number, end: number): number {
  const lf = bytes.indexOf(LF, at);
  return lf < 0 || lf >= end ? end : lf + 1;
}

export function firstField(fields: readonly Field[], name: string): string | null {
  return fields.find((f) => f.name === name)?.value ?? null;
}

/** Text that was decoded as Latin-1; decoded again as UTF-8 where that is valid (RFC 6532). */
export function unicode(latin: string): string {
  if (!/[\x80-\xff]/.test(latin)) return latin;
  const bytes = Buffer.from(latin, "latin1");
  const text = bytes.toString("utf8");
  return text.includes("\ufffd") ? latin : text;
}

const ENCODED_WORD = /=\?([^?\s]{1,40})\?([bq])\?([^?]{0,2000})\?=/gi;
const MOST_WORDS = 1000;

/**
 * Decodes encoded words (RFC 2047 2), at most 1,000 of them. The bytes of neighbours in one charset are joined first,
 * for some senders cut characters in two.
 */
export function decodeWords(value: string): string {
  if (!value.includes("=?")) return unicode(value);
  let out = "";
  let at = 0;
  let words = 0;
  let held: { readonly charset: string; readonly bytes: Buffer[] } | undefined;
  const flush = (): void => {
    if (held) out += decodeCharset(Buffer.concat(held.bytes), held.charset);
    held = undefined;
  };
  for (const match of value.matchAll(ENCODED_WORD)) {
    if (++words > MOST_WORDS) break;
    const between = value.slice(at, match.index);
    const charset = match[1]!.replace(/\*.*$/, "").toLowerCase(); // RFC 2231 5: a language may follow
    if (held === undefined || between.trim() !== "" || held.charset !== charset) {
      flush();
      if (words === 1 || between.trim() !== "") out += unicode(between);
      held = { charset, bytes: [] };
    }
    held.bytes.push(wordBytes(match[2]!, match[3]!));
    at = match.index + match[0].length;
  }
  flush();
  return out + unicode(value.slice(at));
}

function wordBytes(kind: string, text: string): Buffer {
  return kind.toLowerCase() === "b"
    ? Buffer.from(text, "base64")
    : percentBytes(text.replace(/_/g, " "), /=([0-9a-f]{2})/gi);
}

/** Characters as bytes, `=xx` or `%xx` resolved. */
function percentBytes(text: string, code: RegExp): Buffer {
  const plain = text.replace(code, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(plain, "latin1");
}

/** Text of bytes in a named charset; unknown names are read as UTF-8, then Latin-1. */
export function decodeCharset(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    return unicode(bytes.toString("latin1")); // an unknown label
  }
}

export interface Parameterised {
  /** Lower case, without parameters. */
  readonly value: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** A field value with parameters (RFC 2045 5.1), also split and encoded ones (RFC 2231). */
export function readParameters(text: string): Parameterised {
  const semicolon = text.indexOf(";");
  const value = (semicolon < 0 ? text : text.slice(0, semicolon)).trim().toLowerCase();
  const raw = new Map<string, string>();
  let at = semicolon < 0 ? text.length : semicolon + 1;
  while (at < text.length && raw.size < 200) {
    const equals = text.indexOf("=", at);
    if (equals < 0) break;
    const name = text
      .slice(Math.max(at, text.lastIndexOf(";", equals) + 1), equals) // words without a value stand before it
      .trim()
      .toLowerCase();
    let i = equals + 1;
    while (text[i] === " " || text[i] === "\t") i++;
    let content = "";
    if (text[i] === '"') {
      i++;
      while (i < text.length && text[i] !== '"') {
        if (text[i] === "\\" && i + 1 < text.length) i++;
        content += text[i++];
      }
      const next = text.indexOf(";", i);
      at = next < 0 ? text.length : next + 1;
    } else {
      const next = text.indexOf(";", i);
      const end = next < 0 ? text.length : next;
      content = text.slice(i, end).trim();
      at = end + 1;
    }
    if (name !== "" && !raw.has(name)) raw.set(name, content);
  }
  return { value, parameters: joinParameters(raw) };
}

/** Puts `name*0*=`, `name*1=` together and decodes `charset'lang'%xx` (RFC 2231 3, 4). */
function joinParameters(raw: ReadonlyMap<string, string>): Map<string, string> {
  const joined = new Map<string, string>();
  const pieces = new Map<string, { at: number; text: string; encoded: boolean }[]>();
  for (const [name, text] of raw) {
    const match = /^([^*]+)(?:\*(\d{1,3}))?(\*)?$/.exec(name);
    if (!match || (match[2] === undefined && match[3] === undefined)) joined.set(name, decodeWords(text));
    else {
      const list = pieces.get(match[1]!) ?? [];
      list.push({ at: Number(match[2] ?? 0), text, encoded: match[3] !== undefined });
      pieces.set(match[1]!, list);
    }
  }
  for (const [name, list] of pieces) {
    list.sort((a, b) => a.at - b.at);
    const charset = /^([^']{0,40})'[^']{0,40}'/.exec(list[0]!.text);
    const bytes = list.map(({ text, encoded }, i) => {
      const body = i === 0 && charset && encoded ? text.slice(charset[0].length) : text;
      return encoded ? percentBytes(body, /%([0-9a-f]{2})/gi) : Buffer.from(body, "latin1");
    });
    joined.set(name, decodeCharset(Buffer.concat(bytes), charset?.[1] || "utf-8"));
  }
  return joined;
}
