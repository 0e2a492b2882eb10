/** Maintenance of archive.db and queue.db for operators: copies, checks, unused space, what has expired, sizes. */
import type { Log } from "../lib/log/log.ts";
import type { IngestPort } from "../receive/port.ts";
import type { Maintenance } from "../services/databases.ts";
import type { ArchiveReader } from "../store/archive/reader.ts";
import type { QueueStore } from "../store/queue.ts";
import type { CopyDatabase } from "../store/sqlite/copy.ts";
import { checkDatabase, databaseSize } from "../store/sqlite/maintenance.ts";
import { Backup } from "./backup.ts";
import type { DatabasePaths } from "./database-paths.ts";

/** Pages given back to the file system at once. */
const SLICE_PAGES = 1000;

export interface DatabaseOptions extends DatabasePaths {
  readonly archive: ArchiveReader;
  readonly ingest: IngestPort;
  readonly queue: QueueStore;
  readonly copy: CopyDatabase;
  readonly log: Log;
  /** Ends a check or a backup. */
  readonly stopping: AbortSignal;
  /** The job `retention`: what it would delete, and a run. */
  readonly expired: Maintenance["expired"];
  readonly prune: Maintenance["prune"];
}

/** The damage of both databases; empty when the integrity of both is ok. Errors: `store.io`, `daemon.stopping`. */
export async function checkDatabases(
  { archivePath, queuePath }: DatabasePaths,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [name, path] of [
    ["archive.db", archivePath],
    ["queue.db", queuePath],
  ] as const) {
    for (const problem of await checkDatabase(path, signal)) found.push(`${name}: ${problem}`);
  }
  return found;
}

export interface Databases extends Maintenance {
  /** Resolves when no backup is being made. */
  ended(): Promise<void>;
}

export function makeDatabases(options: DatabaseOptions): Databases {
  const { archivePath, queuePath, archive, ingest, queue, expired, prune, stopping } = options;
  const backup = new Backup(options);
  const bytes = (): number => databaseSize(archivePath).bytes + databaseSize(queuePath).bytes;
  return {
    backup: (folder) => backup.run(folder),
    ended: () => backup.ended(),
    check: () => checkDatabases(options, stopping),
    expired,
    prune,
    async vacuum() {
      const before = bytes();
      await inSlices((pages) => ingest.vacuum(pages));
      await inSlices(async (pages) => {
        const rest = queue.vacuum(pages);
        await new Promise((resolve) => setImmediate(resolve));
        return rest;
      });
      return Math.max(0, before - bytes());
    },
    async stats() {
      const size = await archive.size();
      const counters = await archive.stats();
      const records = counters["archive.record"] ?? 0;
      const own = databaseSize(archivePath);
      const perRecord = records === 0 ? null : Math.round(((own.bytes - size.raw_bytes) / records) * 10) / 10;
      return {
        archive: { path: archivePath, ...own, ...size, records, bytes_per_record: perRecord },
        queue: { path: queuePath, ...databaseSize(queuePath), ...queue.stats() },
      };
    },
  };
}

/** Gives unused pages back, a slice at a time, while that makes them fewer. */
async function inSlices(vacuum: (pages: number) => Promise<number>): Promise<void> {
  let left = Number.POSITIVE_INFINITY;
  for (let rest = await vacuum(SLICE_PAGES); rest > 0 && rest < left; rest = await vacuum(SLICE_PAGES))
    left = rest;
}
