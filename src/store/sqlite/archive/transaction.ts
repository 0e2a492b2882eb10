/** Transactions of the archive's writer: what is cached is forgotten when one is rolled back. */
import { MailreportError } from "../../../lib/errors.ts";
import { guarded, type Sqlite, storeError } from "../open.ts";

/** An error of our own, in parsing or storing; not one of the disk or the database. */
export function isBug(error: unknown): boolean {
  return !(error instanceof MailreportError) || error.code === "daemon.bug";
}

export interface ArchiveTransaction {
  /**
   * Runs `work` in one transaction; nothing of it stays when it throws.
   * Errors: `store.*`; `daemon.stopping` after `end`; what `work` throws.
   */
  run<T>(work: () => T): T;
  /** From now on there are no transactions: the archive is being closed. */
  end(): void;
}

export interface TransactionHooks {
  /** Before the commit. */
  readonly flush: () => void;
  /** After a roll-back. */
  readonly undo: () => void;
  /** After a commit. */
  readonly committed?: () => void;
}

export function makeArchiveTransaction(database: Sqlite, hooks: TransactionHooks): ArchiveTransaction {
  const begin = database.prepare("BEGIN IMMEDIATE");
  const commit = database.prepare("COMMIT");
  const rollback = database.prepare("ROLLBACK");

  function body<T>(work: () => T): T {
    try {
      const result = work();
      hooks.flush();
      commit.run();
      return result;
    } catch (error) {
      // SQLite rolls back by itself when the disk is full or fails: what was thrown after that is no bug of a mail
      const lost = !database.inTransaction;
      if (!lost) rollback.run();
      hooks.undo();
      if (!lost || !isBug(storeError(error, "archive"))) throw error;
      throw new MailreportError("store.io", {
        detail: "archive: the transaction was rolled back",
        cause: error,
      });
    }
  }

  let ended = false;
  return {
    run(work) {
      if (ended) throw new MailreportError("daemon.stopping");
      const result = guarded(() => {
        begin.run();
        return body(work);
      }, "archive");
      hooks.committed?.();
      return result;
    },
    end() {
      ended = true;
    },
  };
}
