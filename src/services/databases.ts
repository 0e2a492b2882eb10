/** Maintenance of archive.db and queue.db on request. */

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
  /** Deletes what has expired, or with `dryRun` counts it. */
  prune(dryRun: boolean, who: string): Promise<JobDetail>;
  stats(): Promise<DatabaseStats>;
}

export interface DatabaseService {
  check(): Promise<readonly string[]>;
  stats(): Promise<DatabaseStats>;
  readonly backup: Operation<string, readonly BackupFile[]>;
  readonly vacuum: Operation<undefined, number>;
  /** Deletes what has expired; returns the number of each kind. */
  readonly prune: Operation<undefined, JobDetail>;
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
      plan: (_request, { who }) => maintenance.prune(true, who),
      change: (_request, { who }) => maintenance.prune(false, who),
      audited: (counts) => (Object.values(counts).every((count) => count === 0) ? null : counts),
    }),
  };
}
