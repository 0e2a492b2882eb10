/** Checks and measures a database file while it is in use. */
import { execFile } from "node:child_process";
import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { errorText, MailreportError } from "../../lib/errors.ts";

const PROGRAM = fileURLToPath(new URL("./check-process.js", import.meta.url));

/**
 * Problems of the database at `path`; empty when its integrity is ok. Runs in a process of its own: a thread could not be
 * ended in the middle of a long check, and would hold up the end of the daemon.
 * @param signal ends the check
 * Errors: `store.io`; `daemon.stopping` after `signal`.
 */
export function checkDatabase(path: string, signal?: AbortSignal): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const options = { env: {}, killSignal: "SIGKILL", ...(signal ? { signal } : {}) } as const;
    execFile(process.execPath, [PROGRAM, path], options, (error, output) => {
      if (!error) resolve(JSON.parse(output) as string[]);
      else if (signal?.aborted) reject(new MailreportError("daemon.stopping", { cause: error }));
      else {
        const detail = `${path} was not checked: ${errorText(error)}`;
        reject(new MailreportError("store.io", { detail, cause: error }));
      }
    });
  });
}

/** Bytes of a database and its log. */
export function databaseSize(path: string): { readonly bytes: number; readonly wal_bytes: number } {
  const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  return { bytes: sizeOf(path), wal_bytes: sizeOf(`${path}-wal`) };
}
