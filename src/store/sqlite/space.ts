/**
 * Gives unused pages of a database back to the file system, in slices of some milliseconds: for each page at the end of the
 * file SQLite moves one that is in use into an unused one.
 */
import type { Sqlite } from "./open.ts";

/** Milliseconds of work in one transaction: other writes wait for it. */
const SLICE_MS = 12;
/** Pages moved between two looks at the clock. */
const STEP = 16;
/** Unused pages that expiry leaves in place, since new data soon needs them: the larger one of these, */
const RESERVE_PAGES = 1024;
/** and this part of the file. */
const RESERVE_PART = 0.05;

export interface Space {
  /** Gives back at most `pages` pages, fewer when the time of a slice is over; returns how many unused ones are left. */
  giveBack(pages: number): number;
  /** Gives back some of the unused pages beyond the reserve; false when there are none. */
  giveBackSome(): boolean;
}

/** @param elapsed milliseconds, monotonic */
export function makeSpace(database: Sqlite, elapsed: () => number): Space {
  const unused = (): number => Number(database.pragma("freelist_count", { simple: true }));
  const all = (): number => Number(database.pragma("page_count", { simple: true }));
  const reserve = (): number => Math.max(RESERVE_PAGES, Math.floor(all() * RESERVE_PART));

  const giveBack = database.transaction((pages: number): number => {
    const end = elapsed() + SLICE_MS;
    let left = unused();
    for (let given = 0; given < pages && left > 0 && elapsed() < end; given += STEP) {
      database.pragma(`incremental_vacuum(${Math.min(STEP, pages - given)})`);
      left = unused();
    }
    return left;
  });

  return {
    giveBack: (pages) => giveBack.immediate(Math.floor(pages)),
    giveBackSome() {
      const surplus = unused() - reserve();
      if (surplus <= 0) return false;
      giveBack.immediate(surplus);
      return true;
    },
  };
}
