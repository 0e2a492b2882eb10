/** A thread that makes a checkpoint of one database with each message. */
import { parentPort, workerData } from "node:worker_threads";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { CheckpointAnswer } from "./checkpointer.ts";
import { openDatabase, type Sqlite, storeError } from "./open.ts";

const { path } = workerData as { readonly path: string };
let database: Sqlite | undefined;

function checkpoint(): CheckpointAnswer {
  try {
    database ??= openDatabase(path, { cacheKiB: 64 });
    database.pragma("wal_checkpoint(PASSIVE)");
    return { ok: true };
  } catch (thrown) {
    const error = storeError(thrown, path);
    if (!(error instanceof MailreportError)) return { ok: false, code: "store.io", detail: errorText(error) };
    return { ok: false, code: error.code, detail: error.detail ?? error.message };
  }
}

parentPort?.on("message", () => parentPort?.postMessage(checkpoint()));
