/**
 * Numbered, forward-only migrations; the number of the last one is the database's `user_version`. A migration that
 * an older program cannot live with is marked `breaking`; the newest breaking one is kept as `application_id`, so
 * that an older program refuses only what it must.
 */
import { MailreportError } from "../../lib/errors.ts";
import type { Sqlite } from "./open.ts";

export interface Migration {
  readonly sql: string;
  /** What SQL alone cannot do, after it and in the same transaction. */
  readonly run?: (database: Sqlite) => void;
  /** An older program must not open the database afterwards. */
  readonly breaking: boolean;
}

/**
 * Brings the database to the newest schema, each step in its own transaction.
 * Errors: `store.newer_schema` when a newer program made a breaking change.
 */
export function migrate(
  database: Sqlite,
  migrations: readonly Migration[],
): { readonly from: number; readonly to: number } {
  const from = Number(database.pragma("user_version", { simple: true }));
  const needs = Number(database.pragma("application_id", { simple: true }));
  if (needs > migrations.length) {
    throw new MailreportError("store.newer_schema", {
      detail: `it needs schema ${needs}, this program knows ${migrations.length}`,
    });
  }
  for (let version = from; version < migrations.length; version++) {
    const migration = migrations[version]!;
    database.transaction(() => {
      database.exec(migration.sql);
      migration.run?.(database);
      database.pragma(`user_version = ${version + 1}`);
      if (migration.breaking) database.pragma(`application_id = ${version + 1}`);
    })();
  }
  return { from, to: Math.max(from, migrations.length) };
}
