/** Numbers of new rows, given out before the rows are written. There is one writer, so they are counted in memory. */
import type { Sqlite } from "../open.ts";

export interface Numbering {
  next(): number;
  /** Numbers that were given in a transaction that is rolled back are given again. */
  undo(): void;
}

/** The ids of a table with AUTOINCREMENT; those of deleted rows are not given again. */
export function numbering(database: Sqlite, table: "mail" | "report"): Numbering {
  const used = database.prepare("SELECT seq FROM sqlite_sequence WHERE name = ?").pluck();
  const read = (): number => (used.get(table) as number | undefined) ?? 0;
  let last = read();
  return {
    next: () => ++last,
    undo() {
      last = read();
    },
  };
}
