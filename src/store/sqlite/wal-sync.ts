/**
 * Syncs the write-ahead log beside the thread that writes it: while the disk works, the next transaction is made. Several
 * commits share one sync. This is what `synchronous=FULL` does inside COMMIT, in the same order: frames are written,
 * the log is synced, then the commit counts.
 */
import { closeSync, fdatasync, openSync } from "node:fs";

/** Makes the bytes of a descriptor durable: fdatasync(2). */
export type SyncFile = (descriptor: number, done: (error: Error | null) => void) => void;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class WalSync {
  readonly #descriptor: number;
  readonly #sync: SyncFile;
  #waiting: Waiting[] = [];
  #running = false;
  #failed = false;

  /** @param path of the database, which is open in WAL mode, so that its log is there */
  constructor(path: string, sync: SyncFile = fdatasync) {
    this.#descriptor = openSync(`${path}-wal`, "r+");
    this.#sync = sync;
  }

  /**
   * A sync failed: what the log holds may never reach the disk, and a later sync that succeeds does not mean that it
   * did. The log must be checkpointed and begun anew before anything else is committed.
   */
  get failed(): boolean {
    return this.#failed;
  }

  /** The log was begun anew. */
  recovered(): void {
    this.#failed = false;
  }

  /** Resolves when all that was committed before the call is on disk. Errors: of fdatasync(2), as they come. */
  synced(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (!this.#running) this.#run();
    });
  }

  #run(): void {
    const covered = this.#waiting;
    this.#waiting = [];
    this.#running = true;
    this.#sync(this.#descriptor, (error) => {
      this.#running = false;
      if (error) this.#failed = true;
      if (this.#waiting.length > 0) this.#run();
      for (const { resolve, reject } of covered) {
        if (error) reject(error);
        else resolve();
      }
    });
  }

  /** Call it when nothing is being synced, after the database was closed. */
  close(): void {
    closeSync(this.#descriptor);
  }
}
