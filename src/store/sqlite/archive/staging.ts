/**
 * Numbers under which rows of content are stored without a report (table staged_report): of a large mail that is being
 * stored, and of a large report that was deleted. Such rows are not visible. Those that nobody is writing any more are
 * deleted in steps, beside other work; what an ended process left is deleted after the next open.
 */
import type { Sqlite } from "../open.ts";
import { guarded } from "../open.ts";
import type { ReportRows } from "./report-rows.ts";
import type { ArchiveTransaction } from "./transaction.ts";

export interface Staging {
  /** From now on the number has rows without a report. Call it inside the transaction. */
  note(reportId: number): void;
  /** The rows of the number belong to a report, or there are none. Call it inside the transaction. */
  adopted(reportId: number): void;
  /** Deletes the rows of a deleted report: at once when they are few, else after the transaction, in steps. */
  discard(reportId: number): void;
}

export function makeStaging(database: Sqlite, rows: ReportRows): Staging {
  const insert = database.prepare("INSERT OR IGNORE INTO staged_report (id) VALUES (?)");
  const remove = database.prepare("DELETE FROM staged_report WHERE id = ?");
  return {
    note(reportId) {
      insert.run(reportId);
    },
    adopted(reportId) {
      remove.run(reportId);
    },
    discard(reportId) {
      if (rows.deleteSome(reportId)) insert.run(reportId);
    },
  };
}

export interface Sweeper {
  /** Rows under this number are being written: they are not deleted before `release`. */
  hold(reportId: number): void;
  release(reportIds: Iterable<number>): void;
  /** Deletes, beside other work, all rows that nobody holds; nothing when it is doing that already. */
  start(): void;
  /** Stops after the step that is under way. */
  stop(): Promise<void>;
}

export interface SweeperParts {
  readonly database: Sqlite;
  readonly rows: ReportRows;
  readonly staging: Staging;
  readonly transaction: ArchiveTransaction;
  /** It failed; it goes on with the next `start`. */
  readonly onProblem: (error: unknown) => void;
}

/** One turn of the event loop, in which other work is done. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function makeSweeper({ database, rows, staging, transaction, onProblem }: SweeperParts): Sweeper {
  const noted = database.prepare<[], number>("SELECT id FROM staged_report").pluck();
  const held = new Set<number>();
  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;

  const next = (): number | undefined => guarded(() => noted.all().find((id) => !held.has(id)), "archive");

  function deleteStep(id: number): void {
    transaction.run(() => {
      if (!rows.deleteSome(id)) staging.adopted(id);
    });
  }

  async function sweep(): Promise<void> {
    again = false;
    try {
      for (let id = next(); id !== undefined; id = next()) {
        deleteStep(id);
        await turn();
        if (stopped) return;
      }
    } catch (error) {
      onProblem(error);
    }
  }

  function start(): void {
    again = true;
    if (stopped || running) return;
    running = sweep().finally(() => {
      running = undefined;
      if (again) start();
    });
  }

  return {
    hold: (reportId) => void held.add(reportId),
    release(reportIds) {
      for (const id of reportIds) held.delete(id);
    },
    start,
    async stop() {
      stopped = true;
      await running;
    },
  };
}
