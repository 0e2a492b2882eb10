/** Limits the work of parsing per byte, so that no document takes much longer to parse than a normal one of its size. */
import { ReadStop } from "../context.ts";

/** Points that every document starts with; small ones never use them up. */
const GRACE = 1 << 20;

/** What a piece of markup costs. A normal report costs about half a point per byte. */
export const COST = {
  element: 8,
  /** On top: an element that no schema knows, a comment, an instruction. */
  stranger: 24,
  /** On top: a defect that is corrected. */
  repair: 24,
  cdata: 16,
  reference: 12,
} as const;

/**
 * Each byte of a document earns a point and its markup costs some. A document that is nearly all markup (`<a/><a/>…`)
 * uses them up long before it takes noticeable time.
 */
export class Effort {
  #left = GRACE;

  earn(bytes: number): void {
    this.#left += bytes;
  }

  /** Throws ReadStop `bad-xml` when nothing is left. */
  spend(points: number): void {
    this.#left -= points;
    if (this.#left < 0) throw new ReadStop("bad-xml", "more markup than any report has");
  }
}
