/** Opens archive.db for writing: intake and maintenance over one connection. Used in the ingest process alone. */
import type { ArchiveIntake } from "../../archive/intake.ts";
import type { ArchiveMaintenance } from "../../archive/maintenance.ts";
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

export interface ArchiveWriterOptions {
  /** Called before the schema is migrated, which may take minutes. */
  readonly onMigrate?: (steps: MigrationSteps) => void;
  /** Milliseconds, monotonic: maintenance is bounded by time. */
  readonly elapsed?: () => number;
}

export type ArchiveWriter = ArchiveIntake & ArchiveMaintenance & { close(): Promise<void> };

/** Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`. */
export function openArchiveWriter(
  path: string,
  { onMigrate = () => {}, elapsed = () => performance.now() }: ArchiveWriterOptions = {},
): ArchiveWriter {
  const database = openDatabase(path, { cacheKiB: 24_576, checkpointPages: 4000 });
  try {
    return guarded(() => {
      migrate(database, ARCHIVE_MIGRATIONS, onMigrate);
      return build(database, elapsed);
    }, path);
  } catch (error) {
    database.close();
    throw error;
  }
}

function build(database: Sqlite, elapsed: () => number): ArchiveWriter {
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
  });
  const { remove, forgetNames } = reports;
  const notes = makeDomainNotes(database);
  const expiry = makeExpiry(database, { sums, notes, transaction, remove, forgetNames, elapsed });
  const space = makeSpace(database, elapsed);
  const attempts = makeAttempts(mails, transaction.run);

  return {
    ...makeIntake({ mails, reports, sums, attempts, transaction }),

    async expire(now, policy, rows) {
      const slice = expiry.slice(now, policy, rows);
      return slice.more ? slice : { ...slice, more: guarded(space.giveBackSome, "archive") };
    },

    async vacuum(pages) {
      return guarded(() => space.giveBack(pages), "archive");
    },

    async checkpoint() {
      guarded(() => database.pragma("wal_checkpoint(PASSIVE)"), "archive");
    },

    async close() {
      attempts.close();
      database.close();
    },
  };
}
