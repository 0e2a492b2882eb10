/** A linear look over JSON text before it is parsed: depth is bounded, repeated member names are noted. */
import type { WarningList } from "../model/outcome.ts";
import { ReadStop } from "./context.ts";

/** Member names looked at for repetition, of one document. */
const MOST_NAMES = 200_000;

/**
 * Throws ReadStop `too-deep` beyond `depth` and `bad-json` for NULs; warns of repeated members. Well-formedness is
 * the parser's matter.
 */
export function scanJson(text: string, depth: number, warnings: WarningList): void {
  const names: (Set<string> | null)[] = [];
  let looked = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b || c === 0x5b) {
      if (names.length >= depth) throw new ReadStop("too-deep", "JSON values inside each other");
      names.push(c === 0x7b ? new Set() : null);
    } else if (c === 0x7d || c === 0x5d) names.pop();
    else if (c === 0x22) {
      const end = stringEnd(text, i + 1);
      const members = names.at(-1);
      if (members && looked < MOST_NAMES && isMember(text, end + 1)) {
        looked++;
        const name = text.slice(i + 1, end);
        if (members.has(name)) warnings.add("json-repeated-key", name);
        else members.add(name);
      }
      i = end;
    } else if (c === 0) throw new ReadStop("bad-json", "a NUL character");
  }
}

function stringEnd(text: string, from: number): number {
  for (let i = from; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x5c) i++;
    else if (c === 0x22) return i;
  }
  return text.length;
}

function isMember(text: string, from: number): boolean {
  let i = from;
  while (i < text.length && text.charCodeAt(i) <= 0x20) i++;
  return text[i] === ":";
}
