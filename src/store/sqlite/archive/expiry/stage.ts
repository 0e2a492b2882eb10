/** Stages of expiry, and how a slice of them is bounded. */
import type { ExpirySlice } from "../../../archive/maintenance.ts";
import type { ExpiryLimits } from "./limits.ts";

/** Deletes one kind of data. */
export interface Stage {
  /**
   * Deletes a piece of what has expired, about a millisecond of work, inside a transaction; returns how many rows that
   * was, which may be 0 while it looks for them. Undefined: nothing is left.
   */
  piece(limits: ExpiryLimits): number | undefined;
}

/** Milliseconds of work in one transaction: new mail waits for it. */
const SLICE_MS = 12;

/**
 * Runs the stages one after the other, until `rows` are deleted or the time of a slice is over. A stage begins when
 * those before it have nothing left, in this slice, so that no later stage deletes what earlier data refers to.
 * @param elapsed milliseconds, monotonic
 */
export function runStages(
  stages: readonly Stage[],
  limits: ExpiryLimits,
  rows: number,
  elapsed: () => number,
): ExpirySlice {
  const end = elapsed() + SLICE_MS;
  let deleted = 0;
  for (const stage of stages) {
    for (let some = stage.piece(limits); some !== undefined; some = stage.piece(limits)) {
      deleted += some;
      if (deleted >= rows || elapsed() >= end) return { rows: deleted, more: true };
    }
  }
  return { rows: deleted, more: false };
}
