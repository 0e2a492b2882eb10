/** The outgoing report that a batch of evaluations is counted into, and the keys of its tallies. */
import { hash } from "node:crypto";
import type { OutgoingPolicy } from "../../../model/outgoing.ts";

/** An open outgoing report, as far as it is remembered between batches. */
export interface CountTarget {
  readonly no: number;
  readonly id: string;
  /** As stored last; a feed may bring a newer rua. */
  policy: string;
  /** The object that `policy` was made of, to recognise it in the next batch. */
  given: OutgoingPolicy | null;
  /**
   * How many merge steps new rows go through before they are stored. Above 0 nothing more can be left out, and the
   * report is not merged again.
   */
  mergeStep: number;
  rows: number;
}

/** The key of a canonical text: the first 16 bytes of its SHA-256. */
export function keyOf(text: string): Buffer {
  return hash("sha256", text, "buffer").subarray(0, 16);
}
