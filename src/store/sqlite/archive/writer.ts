/** Opens archive.db for writing: intake and maintenance over one connection. Used in the ingest process alone. */
import { MailreportError } from "../../../lib/errors.ts";
import type { ArchiveIntake } from "../../archive/intake.ts";
import type { ArchiveMaintenance } from "../../archive/maintenance.ts";
import { type MigrationSteps, migrate } from "../migrate.ts";
import { guarded, openDatabase, type Sqlite, storeError } from "../open.ts";
import { makeAttempts } from "./attempts.ts";
import { makeIntake } from "./intake.ts";
import { makeInterner } from "./intern.ts";
import { makeLargeMails } from "./large-mails.ts";
import { prepareMails } from "./mails.ts";
import { makeReportRows } from "./report-rows.ts";
import { makeReportArchive } from "./reports.ts";
import { makeExpiry } from "./retention.ts";
import { ARCHIVE_MIGRATIONS } from "./schema.ts";
import { makeStaging, makeSweeper } from "./staging.ts";
import { makeSums } from "./sums.ts";
import { makeArchiveTransaction } from "./transaction.ts";

export interface ArchiveWriterOptions {
  /** Called before the schema is migrated, which may take minutes. */
  readonly onMigrate?: (steps: MigrationSteps) => void;
  /** Work that nobody waits for failed: rows without a report could not be deleted. It is tried again later. */
  readonly onProblem?: (error: unknown) => void;
}

export type ArchiveWriter = ArchiveIntake & ArchiveMaintenance & { close(): Promise<void> };

/** Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`. */
export function openArchiveWriter(
  path: string,
  { onMigrate = () => {}, onProblem = () => {} }: ArchiveWriterOptions = {},
): ArchiveWriter {
  const database = openDatabase(path, { cacheKiB: 24_576, checkpointPages: 4000 });
  try {
    return guarded(() => {
      migrate(database, ARCHIVE_MIGRATIONS, onMigrate);
      return build(database, onProblem);
    }, path);
  } catch (error) {
    database.close();
    throw error;
  }
}

function build(database: Sqlite, onProblem: (error: unknown) => void): ArchiveWriter {
  const intern = makeInterner(database);
  const sums = makeSums(database);
  const mails = prepareMails(database);
  const rows = makeReportRows(database, intern);
  const staging = makeStaging(database, rows);
  const reports = makeReportArchive({ database, intern, sums, rows, staging });
  const expiry = makeExpiry(database, sums, reports.remove);
  const transaction = makeArchiveTransaction(database, {
    flush: sums.flush,
    undo() {
      reports.undo();
      mails.undo();
      sums.clear();
    },
  });
  const attempts = makeAttempts(mails, transaction.run);
  const sweeper = makeSweeper({ database, rows, staging, transaction, onProblem });
  const largeMails = makeLargeMails({ reports, rows, staging, sweeper, transaction });
  const intake = makeIntake({
    mails,
    reports,
    sums,
    attempts,
    transaction,
    largeMails,
    sweep: sweeper.start,
  });
  sweeper.start(); // what an ended process left

  return {
    ...intake,

    async expire(now, policy, rows) {
      const deleted = transaction.run(() => expiry.slice(now, policy, rows));
      sweeper.start();
      if (deleted > 0) guarded(() => database.pragma("incremental_vacuum(256)"), "archive");
      return deleted;
    },

    async backup(path) {
      try {
        const { totalPages } = await database.backup(path);
        return { bytes: totalPages * Number(database.pragma("page_size", { simple: true })) };
      } catch (error) {
        if (!database.open) throw new MailreportError("daemon.stopping", { cause: error });
        throw storeError(error, path);
      }
    },

    async vacuum(pages) {
      return guarded(() => {
        database.pragma(`incremental_vacuum(${Math.floor(pages)})`);
        database.pragma("wal_checkpoint(PASSIVE)");
        return Number(database.pragma("freelist_count", { simple: true }));
      }, "archive");
    },

    async checkpoint() {
      guarded(() => database.pragma("wal_checkpoint(PASSIVE)"), "archive");
    },

    async close() {
      attempts.close();
      transaction.end(); // a large mail that is being stored ends with its next step
      await Promise.all([sweeper.stop(), largeMails.ended()]);
      database.close();
    },
  };
}
