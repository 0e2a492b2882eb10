/** Maintenance of archive.db and queue.db on request. */

import type { MailreportError } from "../lib/errors.ts";
import type { JobDetail } from "../model/jobs.ts";
import type { ArchiveSize } from "../store/archive/maintenance.ts";
import type { Operation, Operations } from "./operation.ts";

export interface BackupFile {
  readonly path: string;
  readonly bytes: number;
}

/** Sizes in bytes of a database and its log. */
interface FileSize {
  readonly path: string;
  readonly bytes: number;
  readonly wal_bytes: number;
}

/** Size and content of the databases. */
export interface DatabaseStats {
  readonly archive: FileSize &
    ArchiveSize & { readonly records: number; readonly bytes_per_record: number | null };
  /** With the counters of the queue store. */
  readonly queue: FileSize & Readonly<Record<string, string | number>>;
}

/** What maintains the databases. */
export interface Maintenance {
  /** Copies both databases into the directory `folder`. Errors: `request.invalid`, `backup.running`, `store.*`. */
  backup(folder: string): Promise<readonly BackupFile[]>;
  /** The damage that was found; empty when the integrity of both is ok. */
  check(): Promise<readonly string[]>;
  /** Returns the bytes given back to the file system. */
  vacuum(): Promise<number>;
  /** What `prune` would delete. */
  expired(): Promise<JobDetail>;
  /** Deletes what has expired. Errors, when nothing was begun: `job.running`, `daemon.stopping`. */
  prune(who: string): Promise<Pruned>;
  stats(): Promise<DatabaseStats>;
}

/** What was deleted, and why that was not all. */
export interface Pruned {
  readonly deleted: JobDetail;
  readonly failure: MailreportError | null;
}

export interface DatabaseService {
  check(): Promise<readonly string[]>;
  stats(): Promise<DatabaseStats>;
  readonly backup: Operation<string, readonly BackupFile[]>;
  readonly vacuum: Operation<undefined, number>;
  /** Deletes what has expired; returns the number of each kind. */
  readonly prune: Operation<undefined, Pruned>;
}

export function makeDatabases(operations: Operations, maintenance: Maintenance): DatabaseService {
  return {
    check: () => maintenance.check(),
    stats: () => maintenance.stats(),
    backup: operations.declare({
      name: "db backup",
      plan: null,
      change: (folder: string) => maintenance.backup(folder),
      audited: (files) => ({ files: files.map(({ path }) => path) }),
    }),
    vacuum: operations.declare({
      name: "db vacuum",
      plan: null,
      change: () => maintenance.vacuum(),
      audited: (freed) => ({ freed }),
    }),
    prune: operations.declare({
      name: "db prune",
      plan: async () => ({ deleted: await maintenance.expired(), failure: null }),
      change: (_request, { who }) => maintenance.prune(who),
      audited: ({ deleted }) => (Object.values(deleted).every((count) => count === 0) ? null : deleted),
      failure: ({ failure }) => failure,
    }),
  };
}
