/** Opens archive.db for writing: intake and maintenance over one connection. Used in the ingest process alone. */
import type { ArchiveIntake } from "../../archive/intake.ts";
import type { ArchiveMaintenance } from "../../archive/maintenance.ts";
import type { Checkpointer } from "../checkpointer.ts";
import { type MigrationSteps, migrate } from "../migrate.ts";
import { guarded, openDatabase, type Sqlite } from "../open.ts";
import { makeSpace } from "../space.ts";
import { makeAttempts } from "./attempts.ts";
import { makeDomainNotes } from "./domains.ts";
import { makeExpiry } from "./expiry/expiry.ts";
import { makeIntake } from "./intake.ts";
import { makeInterner } from "./intern.ts";
import { makeLargeMails } from "./large-mails.ts";
import { prepareMails } from "./mails.ts";
import { makeReportRows } from "./report-rows.ts";
import { makeReportArchive } from "./reports.ts";
import { ARCHIVE_MIGRATIONS } from "./schema.ts";
import { makeStaging, makeSweeper } from "./staging.ts";
import { makeSums } from "./sums.ts";
import { makeArchiveTransaction } from "./transaction.ts";

/** Pages in the write-ahead log at which a commit makes a checkpoint, */
const CHECKPOINT_PAGES = 4000;
/** and when a checkpointer does so earlier: what it left, so that the log can begin anew. */
const BACKSTOP_PAGES = 8000;

export interface ArchiveWriterOptions {
  /** Called before the schema is migrated, which may take minutes. */
  readonly onMigrate?: (steps: MigrationSteps) => void;
  /** Work that nobody waits for failed: rows without a report could not be deleted. It is tried again later. */
  readonly onProblem?: (error: unknown) => void;
  /** Milliseconds, monotonic: maintenance is bounded by time. */
  readonly elapsed?: () => number;
  /** Makes the checkpoints; without it commits make them. */
  readonly checkpointer?: Checkpointer;
}

export type ArchiveWriter = ArchiveIntake & ArchiveMaintenance & { close(): Promise<void> };

/** Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`. */
export function openArchiveWriter(path: string, options: ArchiveWriterOptions = {}): ArchiveWriter {
  const checkpointPages = options.checkpointer ? BACKSTOP_PAGES : CHECKPOINT_PAGES;
  const database = openDatabase(path, { cacheKiB: 24_576, checkpointPages });
  try {
    return guarded(() => {
      migrate(database, ARCHIVE_MIGRATIONS, options.onMigrate ?? (() => {}));
      return build(database, options);
    }, path);
  } catch (error) {
    database.close();
    throw error;
  }
}

function build(
  database: Sqlite,
  { onProblem = () => {}, elapsed = () => performance.now(), checkpointer }: ArchiveWriterOptions,
): ArchiveWriter {
  const intern = makeInterner(database);
  const sums = makeSums(database);
  const mails = prepareMails(database);
  const rows = makeReportRows(database, intern);
  const staging = makeStaging(database, rows);
  const reports = makeReportArchive({ database, intern, sums, rows, staging });
  const transaction = makeArchiveTransaction(database, {
    flush: sums.flush,
    undo() {
      reports.undo();
      mails.undo();
      sums.clear();
      expiry.undo();
    },
    ...(checkpointer ? { committed: checkpointer.committed } : {}),
  });
  const { remove, forgetNames } = reports;
  const notes = makeDomainNotes(database);
  const expiry = makeExpiry(database, { sums, notes, transaction, remove, forgetNames, elapsed });
  const space = makeSpace(database, elapsed);
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
  const checkpoint = async (): Promise<void> => {
    if (checkpointer) await checkpointer.run();
    else guarded(() => database.pragma("wal_checkpoint(PASSIVE)"), "archive");
  };
  sweeper.start(); // what an ended process left

  return {
    ...intake,

    async expire(now, policy, limit) {
      const slice = expiry.slice(now, policy, limit);
      sweeper.start();
      return slice.more ? slice : { ...slice, more: guarded(space.giveBackSome, "archive") };
    },

    async vacuum(pages) {
      const left = guarded(() => space.giveBack(pages), "archive");
      if (left === 0) await checkpoint(); // the file gets shorter with it
      return left;
    },

    checkpoint,

    async close() {
      attempts.close();
      transaction.end(); // a large mail that is being stored ends with its next step
      await Promise.all([sweeper.stop(), largeMails.ended()]);
      await checkpointer?.close();
      database.close();
    },
  };
}
