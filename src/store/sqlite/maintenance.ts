/** Looking after a database file without holding up anybody who uses it. */
import { statSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { errorText, MailreportError } from "../../lib/errors.ts";

/** What is wrong with the database at `path`, nothing when it is sound. It is read in a thread of its own. */
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
