/**
 * Opens SQLite databases so that a commit survives a power cut, and names their failures.
 */
import { chmodSync } from "node:fs";
import Database from "better-sqlite3";
import { type ErrorCode, errorText, MailreportError } from "../../lib/errors.ts";

export type Sqlite = Database.Database;

/** Another process holding the lock must not stop our event loop for longer than this. */
const LOCK_TIMEOUT_MS = 50;
const FULL = 2;

export interface OpenOptions {
  readonly readonly?: boolean;
  /** Page cache, KiB. */
  readonly cacheKiB?: number;
  /** Pages in the write-ahead log at which a commit also checkpoints. */
  readonly checkpointPages?: number;
}

/**
 * Opens the database at `path`, made when it is not there. WAL, and `synchronous = FULL` set and read back: the
 * library falls back to NORMAL on every later open of a WAL file, and commits would not be synced.
 * Errors: `store.not_durable`, `store.corrupt`, `store.busy`, `store.io`.
 */
export function openDatabase(path: string, options: OpenOptions = {}): Sqlite {
  return guarded(() => {
    const database = new Database(path, { timeout: LOCK_TIMEOUT_MS, readonly: options.readonly ?? false });
    try {
      configure(database, options);
      if (!options.readonly) chmodSync(path, 0o640);
    } catch (error) {
      database.close();
      throw error;
    }
    return database;
  }, path);
}

function configure(database: Sqlite, options: OpenOptions): void {
  database.pragma("trusted_schema = OFF");
  database.pragma("cell_size_check = ON");
  database.pragma(`cache_size = -${options.cacheKiB ?? 16_384}`);
  database.pragma("temp_store = MEMORY");
  if (options.readonly) {
    database.pragma("query_only = ON");
    return;
  }
  // before the first table: space of deleted rows can be given back in slices
  database.pragma("auto_vacuum = INCREMENTAL");
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.pragma("foreign_keys = ON");
  database.pragma(`wal_autocheckpoint = ${options.checkpointPages ?? 4000}`);
  database.pragma("journal_size_limit = 67108864");
  const mode = database.pragma("journal_mode", { simple: true });
  const synchronous = database.pragma("synchronous", { simple: true });
  if (mode !== "wal" || synchronous !== FULL) {
    throw new MailreportError("store.not_durable", {
      detail: `journal_mode ${String(mode)}, synchronous ${String(synchronous)}`,
    });
  }
}

/** Runs `work` and turns what SQLite throws into errors of the catalogue. */
export function guarded<T>(work: () => T, what: string): T {
  try {
    return work();
  } catch (error) {
    throw storeError(error, what);
  }
}

/**
 * `store` with all of its methods guarded, also those that give a promise: a full disk is `store.full` whether a write,
 * a read or a checkpoint meets it.
 */
export function guardedMethods<T extends object>(store: T, what: string): T {
  const entries = Object.entries(store) as [string, (...given: readonly unknown[]) => unknown][];
  const methods = entries.map(([name, method]) => [
    name,
    (...given: readonly unknown[]): unknown =>
      guarded(() => {
        const result: unknown = method(...given);
        return result instanceof Promise ? result.catch((error: unknown) => raise(error, what)) : result;
      }, what),
  ]);
  return Object.fromEntries(methods) as T;
}

function raise(error: unknown, what: string): never {
  throw storeError(error, what);
}

/** A MailreportError for what SQLite threw; any other error as it is. */
export function storeError(error: unknown, what: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  return new MailreportError(codeOf(error.code), { detail: `${what}: ${errorText(error)}`, cause: error });
}

/** Codes that say that a statement of ours is wrong, or was given a wrong value; the database itself is ok. */
const OURS = ["SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_RANGE", "SQLITE_TOOBIG", "SQLITE_MISUSE"];

function codeOf(code: string): ErrorCode {
  if (OURS.some((ours) => code.startsWith(ours))) return "daemon.bug";
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) return "store.busy";
  if (code.startsWith("SQLITE_FULL")) return "store.full";
  if (code.startsWith("SQLITE_CORRUPT") || code.startsWith("SQLITE_NOTADB")) return "store.corrupt";
  return "store.io";
}
