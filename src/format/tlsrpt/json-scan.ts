/** Scans JSON text before it is parsed: limits its depth and size and notes repeated member names. */
import type { WarningList } from "../../model/outcome.ts";
import { ReadStop } from "../context.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** Maximum number of member names that are checked for repetition in one document. */
const MOST_NAMES = 200_000;

export interface JsonBounds {
  readonly depth: number;
  /** Values of any kind, those in lists and members alike. */
  readonly values: number;
}

/**
 * Throws ReadStop: `too-deep`, `too-many-records`, `bad-json` for NULs. Warns of repeated members. The parser
 * checks that it is well-formed.
 */
export function scanJson(text: string, bounds: JsonBounds, warnings: WarningList): void {
  const names: (Set<string> | null)[] = [];
  let looked = 0;
  let values = 1;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === OPEN_BRACE || c === OPEN_BRACKET) {
      if (names.length >= bounds.depth) throw new ReadStop("too-deep", "JSON values inside each other");
      names.push(c === OPEN_BRACE ? new Set() : null);
      values++;
    } else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) names.pop();
    else if (c === COMMA) values++;
    else if (c === QUOTE) {
      const end = stringEnd(text, i + 1);
      const members = names.at(-1);
      if (members && looked < MOST_NAMES && isMember(text, end + 1)) {
        looked++;
        const name = memberName(text.slice(i + 1, end));
        if (members.has(name)) warnings.add("json-repeated-key", name);
        else members.add(name);
      }
      i = end;
    } else if (c === 0) throw new ReadStop("bad-json", "a NUL character");
    if (values > bounds.values)
      throw new ReadStop("too-many-records", "more JSON values than any report has");
  }
}

/** Two spellings of a name are one name. */
function memberName(written: string): string {
  return written.includes("\\")
    ? written.replace(/\\u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    : written;
}

function stringEnd(text: string, from: number): number {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === BACKSLASH) i++;
    else if (c === QUOTE) return i;
  }
  return text.length;
}

function isMember(text: string, from: number): boolean {
  let i = from;
  while (i < text.length && text.charCodeAt(i) <= 0x20) i++;
  return text[i] === ":";
}
