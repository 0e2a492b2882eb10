/** Numbers of new rows, given out before the rows are written. There is one writer, so they are counted in memory. */
import type { Sqlite } from "../open.ts";

export interface Numbering {
  next(): number;
  /** Numbers that were given in a transaction that is rolled back are given again. */
  undo(): void;
}

/** The last number of a table; a report that is being stored in several transactions holds its number in staged_report. */
const LAST = {
  mail: "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'mail'), 0)",
  report: `SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'report'), 0),
    coalesce((SELECT max(id) FROM staged_report), 0))`,
};

/** The ids of a table with AUTOINCREMENT; those of deleted rows are not given again. */
export function numbering(database: Sqlite, table: "mail" | "report"): Numbering {
  const used = database.prepare<[], number>(LAST[table]).pluck();
  const read = (): number => used.get() ?? 0;
  let last = read();
  return {
    next: () => ++last,
    undo() {
      last = read();
    },
  };
}
