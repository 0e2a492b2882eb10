/**
 * Counts attempts to parse spooled mail, so that a mail with which the process dies is known to the next process. An
 * attempt is committed before it begins. One that ends by an error of the store (disk full, database locked) was no death:
 * its count is taken back, or, when that cannot be written either, the next attempt is not counted.
 */
import type { Mails } from "./mails.ts";
import { isBug } from "./transaction.ts";

export interface Attempts {
  /** Attempts begin; durable when it returns. */
  begin(mailIds: readonly number[]): void;
  /** They ended without parsing the mails, by an error of the store. */
  giveBack(mailIds: readonly number[]): void;
  /** The process ends in order: writes what could not be written before, if that is possible now. */
  close(): void;
}

/** @param transaction runs its work in a transaction; throws `store.*` */
export function makeAttempts(mails: Mails, transaction: (work: () => void) => void): Attempts {
  /** Mails that have a count one too high in the database. */
  const counted = new Set<number>();

  function writeBack(): void {
    if (counted.size === 0) return;
    try {
      transaction(() => counted.forEach(mails.notBegun));
      counted.clear();
    } catch (error) {
      if (isBug(error)) throw error;
      // the store fails as before: the set stays, and the next attempts of these mails are not counted
    }
  }

  return {
    begin(mailIds) {
      const fresh = mailIds.filter((id) => !counted.has(id));
      if (fresh.length > 0) transaction(() => fresh.forEach(mails.begun));
      for (const id of mailIds) counted.delete(id);
    },
    giveBack(mailIds) {
      for (const id of mailIds) counted.add(id);
      writeBack();
    },
    close: writeBack,
  };
}
