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
import { prepareMails } from "./mails.ts";
import { makeReportArchive } from "./reports.ts";
import { ARCHIVE_MIGRATIONS } from "./schema.ts";
import { makeSums } from "./sums.ts";
import { makeArchiveTransaction } from "./transaction.ts";

/** Pages in the write-ahead log at which a commit makes a checkpoint, */
const CHECKPOINT_PAGES = 4000;
/** and when a checkpointer does so earlier: what it left, so that the log can begin anew. */
const BACKSTOP_PAGES = 8000;

export interface ArchiveWriterOptions {
  /** Called before the schema is migrated, which may take minutes. */
  readonly onMigrate?: (steps: MigrationSteps) => void;
  /** Milliseconds, monotonic: maintenance is bounded by time. */
  readonly elapsed?: () => number;
  /** Makes the checkpoints; without it commits make them. */
  readonly checkpointer?: Checkpointer;
}

export type ArchiveWriter = ArchiveIntake & ArchiveMaintenance & { close(): Promise<void> };

/** Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`. */
export function openArchiveWriter(
  path: string,
  { onMigrate = () => {}, elapsed = () => performance.now(), checkpointer }: ArchiveWriterOptions = {},
): ArchiveWriter {
  const checkpointPages = checkpointer ? BACKSTOP_PAGES : CHECKPOINT_PAGES;
  const database = openDatabase(path, { cacheKiB: 24_576, checkpointPages });
  try {
    return guarded(() => {
      migrate(database, ARCHIVE_MIGRATIONS, onMigrate);
      return build(database, elapsed, checkpointer);
    }, path);
  } catch (error) {
    database.close();
    throw error;
  }
}

function build(database: Sqlite, elapsed: () => number, checkpointer?: Checkpointer): ArchiveWriter {
  const intern = makeInterner(database);
  const sums = makeSums(database);
  const mails = prepareMails(database);
  const reports = makeReportArchive(database, intern, sums);
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
  const checkpoint = async (): Promise<void> => {
    if (checkpointer) await checkpointer.run();
    else guarded(() => database.pragma("wal_checkpoint(PASSIVE)"), "archive");
  };

  return {
    ...makeIntake({ mails, reports, sums, attempts, transaction }),

    async expire(now, policy, rows) {
      const slice = expiry.slice(now, policy, rows);
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
      await checkpointer?.close();
      database.close();
    },
  };
}
