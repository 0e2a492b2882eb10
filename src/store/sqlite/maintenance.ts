/** Checks and measures a database file while it is in use. */
import { statSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { errorText, MailreportError } from "../../lib/errors.ts";

/** Problems of the database at `path`; empty when its integrity is ok. Runs in a thread of its own. Errors: `store.io`. */
export function checkDatabase(path: string): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./check-worker.js", import.meta.url), { workerData: { path } });
    worker.once("message", resolve);
    worker.once("error", (error) => reject(new MailreportError("store.io", { detail: errorText(error) })));
    worker.once("exit", () => reject(new MailreportError("store.io", { detail: `${path}: not checked` })));
  });
}

/** Bytes of a database and its log. */
export function databaseSize(path: string): { readonly bytes: number; readonly wal_bytes: number } {
  const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  return { bytes: sizeOf(path), wal_bytes: sizeOf(`${path}-wal`) };
}
