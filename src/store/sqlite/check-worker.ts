/** A worker thread that checks the integrity of one database over a read-only connection, and ends. */
import { parentPort, workerData } from "node:worker_threads";
import { errorText } from "../../lib/errors.ts";
import { openDatabase } from "./open.ts";

function problemsOf(path: string): string[] {
  try {
    const database = openDatabase(path, { readonly: true });
    try {
      const rows = database.pragma("quick_check(100)") as { quick_check: string }[];
      const missing = database.pragma("foreign_key_check") as unknown[];
      return [
        ...rows.map((row) => row.quick_check).filter((text) => text !== "ok"),
        ...(missing.length > 0 ? [`${missing.length} rows refer to missing ones`] : []),
      ];
    } finally {
      database.close();
    }
  } catch (error) {
    return [errorText(error)]; // what cannot be opened is the finding
  }
}

parentPort?.postMessage(problemsOf((workerData as { readonly path: string }).path));
