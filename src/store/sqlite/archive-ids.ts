/** Numbers of new rows, given out before the rows are written. There is one writer, so they are counted in memory. */
import type { Sqlite } from "./open.ts";

/** The next id of a table with AUTOINCREMENT; numbers of deleted or rolled-back rows are not given again. */
export function numbering(database: Sqlite, table: "mail" | "report"): () => number {
  const used = database.prepare("SELECT seq FROM sqlite_sequence WHERE name = ?").pluck().get(table);
  let last = (used as number | undefined) ?? 0;
  return () => ++last;
}
