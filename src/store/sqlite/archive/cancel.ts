/**
 * Cancels questions that run. SQLite cannot be interrupted through better-sqlite3, so a question checks from time to time
 * whether it was cancelled: JavaScript before each statement and each block of records, SQL by a function in the WHERE
 * of every statement that may look at many rows.
 */
import type { Sqlite } from "../open.ts";

/** Throws `archive.cancelled` when the question that runs was cancelled; that error ends a statement as well. */
export type CancelCheck = () => void;

/** For readers that have nobody to cancel their questions. */
export const neverCancelled: CancelCheck = () => undefined;

/** Adds the SQL function `not_cancelled()` to a connection: it is always true, or throws. */
export function addCancelCheck(database: Sqlite, check: CancelCheck): void {
  const notCancelled = (): number => {
    check();
    return 1;
  };
  database.function("not_cancelled", { directOnly: true, deterministic: false }, notCancelled);
}

/**
 * A term that is always true and checks in every 1,024th row or so. SQLite evaluates the terms of a WHERE in their order
 * and stops at the first one that is false, so it stands behind those that an index answers alone (ten million rows of an
 * index take about a second) and before those that need a look at the row itself.
 * @param number an integer of the row, spread evenly, such as its id
 * @param every a power of two: the check is made when the number is a multiple of it
 */
export function checkedBy(number: string, every = 1024): string {
  return `(${number} & ${every - 1} <> 0 OR not_cancelled())`;
}
