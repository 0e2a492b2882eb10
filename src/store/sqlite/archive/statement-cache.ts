/** Queries on a database: statements are prepared once, and errors of SQLite become errors of the catalogue. */
import { guarded, type Sqlite } from "../open.ts";
import type { CancelCheck } from "./cancel.ts";

export interface Ask {
  all<T>(sql: string, ...values: readonly unknown[]): T[];
  one<T>(sql: string, ...values: readonly unknown[]): T | undefined;
}

/** Maximum number of prepared statements that are kept. */
const MOST_STATEMENTS = 200;

/** @param check is called before each statement */
export function makeAsk(database: Sqlite, check: CancelCheck): Ask {
  const prepare = (sql: string) => database.prepare<unknown[]>(sql);
  const statements = new Map<string, ReturnType<typeof prepare>>();
  function prepared(sql: string): ReturnType<typeof prepare> {
    check();
    const known = statements.get(sql);
    if (known) return known;
    if (statements.size >= MOST_STATEMENTS) statements.clear();
    const statement = prepare(sql);
    statements.set(sql, statement);
    return statement;
  }
  return {
    all: <T>(sql: string, ...values: readonly unknown[]) =>
      guarded(() => prepared(sql).all(...values) as T[], "archive"),
    one: <T>(sql: string, ...values: readonly unknown[]) =>
      guarded(() => prepared(sql).get(...values) as T | undefined, "archive"),
  };
}

/** The number in `r12` or `m12`; undefined for anything else. */
export function numberOf(id: string, letter: "r" | "m"): number | undefined {
  const match = new RegExp(`^${letter}(\\d{1,15})$`).exec(id);
  return match ? Number(match[1]) : undefined;
}
