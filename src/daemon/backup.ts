/** Copies of both databases while they are in use. */
import { existsSync, lstatSync, rmdirSync, rmSync, type Stats, statSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { makeDirectory } from "../lib/directory.ts";
import { type ErrorCode, errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { supervised } from "../lib/supervised.ts";
import type { CopyDatabase } from "../store/sqlite/copy.ts";
import type { DatabasePaths } from "./database-paths.ts";
import { systemError } from "./system-error.ts";

export interface BackupOptions extends DatabasePaths {
  readonly copy: CopyDatabase;
  readonly log: Log;
  /** Ends a backup. */
  readonly stopping: AbortSignal;
}

/** A file of a finished copy. */
export interface Copied {
  readonly path: string;
  readonly bytes: number;
}

/** The name of a copy until all are complete. */
const unfinished = (path: string): string => `${path}.new`;

/** What SQLite keeps beside a copy while it is made. */
const journal = (path: string): string => `${path}-journal`;

/** The file that is where a directory is needed. */
function fileInTheWay(folder: string): string | undefined {
  let at = folder;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  return statSync(at, { throwIfNoEntry: false })?.isDirectory() === false ? at : undefined;
}

/** Names that unfinished copies have in a directory. */
const leftOver = (folder: string): string[] =>
  ["archive.db", "queue.db"].flatMap((name) => {
    const path = unfinished(join(folder, name));
    return [path, journal(path)];
  });

/** What has a name, a link itself and not its target. A directory that cannot be searched is an error of the copy. */
function entryAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** Errors: `request.invalid`. */
function checkTarget(folder: string): void {
  const file = fileInTheWay(folder);
  if (file !== undefined)
    throw new MailreportError("request.invalid", { detail: `not a directory: ${file}` });
  const there =
    ["archive.db", "queue.db"]
      .map((name) => join(folder, name))
      .find((path) => entryAt(path) !== undefined) ??
    leftOver(folder).find((path) => entryAt(path)?.isFile() === false);
  if (there !== undefined)
    throw new MailreportError("request.invalid", { detail: `${there} is there already` });
}

/** The directories of a path that are not there, the innermost first. */
function missingFolders(folder: string): string[] {
  const missing: string[] = [];
  for (let at = folder; !existsSync(at) && dirname(at) !== at; at = dirname(at)) missing.push(at);
  return missing;
}

/** Removes the files, and the directories that are empty then. What cannot be removed stays. */
function removeMade(files: readonly string[], folders: readonly string[]): void {
  try {
    for (const path of files) for (const file of [path, journal(path)]) rmSync(file, { force: true });
    for (const folder of folders) if (existsSync(folder)) rmdirSync(folder);
  } catch {
    return; // the error of the backup is the answer
  }
}

/** What was made or renamed in the directory is durable afterwards. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Errors of files, which a copy can meet as well as the database that is copied. */
const ABOUT_FILES = new Set<ErrorCode>([
  "store.full",
  "store.io",
  "store.busy",
  "store.corrupt",
  "daemon.no_permission",
  "daemon.state_unusable",
]);

/** An error of a copy, with the directory that it was for; the errors of a process that ends stay as they are. */
function backupError(folder: string, error: unknown): MailreportError {
  const known = systemError(error);
  const ours = known instanceof MailreportError;
  if (ours && !ABOUT_FILES.has(known.code)) return known;
  const code = ours && known.code !== "daemon.state_unusable" ? known.code : "store.io";
  const why = (ours ? known.detail : undefined) ?? errorText(error);
  return new MailreportError(code, { detail: `backup to ${folder}: ${why}`, cause: error });
}

export class Backup {
  readonly #options: BackupOptions;
  /** The directory that a copy is being made in. */
  #folder: string | undefined;
  #copying: Promise<unknown> | undefined;

  constructor(options: BackupOptions) {
    this.#options = options;
  }

  /**
   * Copies both databases into the directory `folder`, made when it is not there, while they are in use. One backup at a
   * time. A copy gets its name when both are complete and on the disk; a backup that fails removes what it made, and
   * nothing else. Unfinished copies of a backup in which the daemon was killed are removed.
   * Errors: `request.invalid` for a path that is not absolute, is not a directory or has a copy already,
   * `backup.running`, `store.*` with the path.
   */
  async run(folder: string): Promise<readonly Copied[]> {
    if (!isAbsolute(folder))
      throw new MailreportError("request.invalid", { detail: `not absolute: ${folder}` });
    if (this.#folder !== undefined) throw new MailreportError("backup.running", { detail: this.#folder });
    checkTarget(folder);
    this.#folder = folder;
    try {
      const { log } = this.#options;
      const copying = supervised({ log, unit: "backup", fields: { folder } }, () => this.#copy(folder));
      this.#copying = copying;
      const done = await copying;
      if (done.ok) return done.value;
      throw done.failure.error;
    } finally {
      this.#folder = undefined;
    }
  }

  /** Resolves when no backup is being made. */
  async ended(): Promise<void> {
    await this.#copying;
  }

  async #copy(folder: string): Promise<readonly Copied[]> {
    const { copy, archivePath: archive, queuePath: queue, stopping } = this.#options;
    const archivePath = join(folder, "archive.db");
    const queuePath = join(folder, "queue.db");
    const folders = missingFolders(folder);
    const files: string[] = [];
    try {
      makeDirectory(folder, 0o750);
      for (const path of leftOver(folder)) rmSync(path, { force: true });
      // the queue first: a report that is sent in between is then sent twice at worst, never forgotten
      files.push(unfinished(queuePath));
      const queued = await copy(queue, unfinished(queuePath), stopping);
      files.push(unfinished(archivePath));
      const archived = await copy(archive, unfinished(archivePath), stopping);
      for (const path of [queuePath, archivePath]) {
        await rename(unfinished(path), path);
        files.push(path);
      }
      for (const path of [folder, ...folders.map(dirname)]) await syncDirectory(path);
      return [
        { path: archivePath, bytes: archived.bytes },
        { path: queuePath, bytes: queued.bytes },
      ];
    } catch (error) {
      removeMade(files, folders);
      throw backupError(folder, error);
    }
  }
}
