/** Deletes the rows of a report piece by piece. */
import type { Sqlite } from "../../open.ts";

const ROWS = 200;

/**
 * A statement that deletes some rows of a report from a table WITHOUT ROWID; it returns how many.
 * @param key the columns of its primary key, which begins with `report_id`
 */
export function deleteSome(database: Sqlite, table: string, key: string): (reportId: number) => number {
  const statement = database.prepare(
    `DELETE FROM ${table} WHERE (${key}) IN (SELECT ${key} FROM ${table} WHERE report_id = ? LIMIT ${ROWS})`,
  );
  return (reportId) => statement.run(reportId).changes;
}
