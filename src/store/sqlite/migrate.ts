/**
 * Numbered, forward-only migrations; the number of the last one is the database's `user_version`. A migration that
 * an older program cannot work with is marked `breaking`; the newest breaking one is kept as `application_id`, so
 * that an older program refuses only what it must.
 */
import { MailreportError } from "../../lib/errors.ts";
import type { Sqlite } from "./open.ts";

export interface Migration {
  readonly sql: string;
  /** What SQL alone cannot do; runs after it in the same transaction. */
  readonly run?: (database: Sqlite) => void;
  /** An older program must not open the database afterwards. */
  readonly breaking: boolean;
}

/** Numbers of schemas; 0 is an empty database. */
export interface MigrationSteps {
  readonly from: number;
  readonly to: number;
}

/**
 * Brings the database to the newest schema, each step in its own transaction.
 * @param onMigrate called before the first step, which may take minutes in a large database
 * Errors: `store.newer_schema` when a newer program made a breaking change.
 */
export function migrate(
  database: Sqlite,
  migrations: readonly Migration[],
  onMigrate: (step: MigrationSteps) => void = () => {},
): MigrationSteps {
  const from = Number(database.pragma("user_version", { simple: true }));
  const needs = Number(database.pragma("application_id", { simple: true }));
  if (needs > migrations.length) {
    throw new MailreportError("store.newer_schema", {
      detail: `it needs schema ${needs}, this program knows ${migrations.length}`,
    });
  }
  const steps = { from, to: Math.max(from, migrations.length) };
  if (from < migrations.length) onMigrate(steps);
  for (let version = from; version < migrations.length; version++) {
    const migration = migrations[version]!;
    database.transaction(() => {
      database.exec(migration.sql);
      migration.run?.(database);
      database.pragma(`user_version = ${version + 1}`);
      if (migration.breaking) database.pragma(`application_id = ${version + 1}`);
    })();
  }
  return steps;
}
