/** Evaluations in. */
import type { FeedEvent } from "../model/evaluation.ts";

export interface RejectedLine {
  /** 1-based within the batch or file. */
  readonly line: number;
  readonly reason: string;
}

/** The answer to a batch: counted and durable when it is given. */
export interface FeedReply {
  readonly accepted: number;
  /** Of the accepted: seen before by id, not counted again. */
  readonly repeated: number;
  readonly rejected: number;
  /** The first 100. */
  readonly errors: readonly RejectedLine[];
}

/**
 * Counts normalised events into tallies of outgoing reports; one transaction. Implemented in report/, handed to feeds.
 * `rejected` is the number of lines of the batch that were no events, for the counters; `cursor` how far the source has
 * been read with this batch, stored in the same transaction.
 */
export type CountEvents = (
  feed: string,
  events: readonly FeedEvent[],
  rejected?: number,
  cursor?: string,
) => {
  readonly counted: number;
  readonly repeated: number;
  readonly refused: readonly { readonly index: number; readonly reason: string }[];
};
