/**
 * One daemon per state directory: an exclusive lock on a small SQLite file. The kernel drops it when the process
 * ends, however it ends, so there is never a stale one (a pid file may be).
 */
import Database from "better-sqlite3";
import { errorText, MailreportError } from "../../lib/errors.ts";

export interface StateLock {
  release(): void;
}

/**
 * Takes the lock file at `path`, made when it is not there.
 * Errors: `daemon.already_running` when another process holds it, `daemon.state_unusable` otherwise.
 */
export function takeStateLock(path: string): StateLock {
  let database: Database.Database;
  try {
    database = new Database(path, { timeout: 0 });
  } catch (error) {
    throw new MailreportError("daemon.state_unusable", {
      detail: `${path}: ${errorText(error)}`,
      cause: error,
    });
  }
  try {
    database.pragma("locking_mode = EXCLUSIVE");
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    const busy = error instanceof Database.SqliteError && error.code.startsWith("SQLITE_BUSY");
    throw new MailreportError(busy ? "daemon.already_running" : "daemon.state_unusable", {
      detail: busy ? path : `${path}: ${errorText(error)}`,
      cause: error,
    });
  }
  return { release: () => database.close() };
}
