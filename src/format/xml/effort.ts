/** What reading may cost for each byte, so that no document is more than a little slower to read than an honest one. */
import { ReadStop } from "../context.ts";

/** Points that every document has from the start; small ones never run out of them. */
const GRACE = 1 << 20;

/** What a piece of markup costs. An honest report spends about half a point for each of its bytes. */
export const COST = {
  element: 8,
  /** On top: an element that no schema knows, a comment, an instruction. */
  stranger: 24,
  /** On top: something that has to be repaired. */
  repair: 24,
  cdata: 16,
  reference: 12,
} as const;

/**
 * Each byte of a document earns a point and its markup costs some. A document that is nearly all markup (`<a/><a/>…`)
 * runs out of them long before it costs noticeable time.
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
