/** A thread that copies one database over a read-only connection, and ends. */
import { closeSync, fdatasyncSync, fsyncSync, openSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { CopyAnswer, CopyTask } from "./copy.ts";
import { openDatabase, storeError } from "./open.ts";

/** Pages copied at once, 1 MB. */
const STEP_PAGES = 256;
/** Steps between two syncs of the copy, so that neither the last one nor a sync of the database waits for many. */
const STEPS_PER_SYNC = 4;
/** After each step the disk is left to others for as long as the step took, but not for longer than this. */
const LONGEST_PAUSE_MS = 50;

/** Syncs the file at `path`, or the directory. */
function sync(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Syncs the copy now and then, pauses, and ends it when it is cancelled. Call `close` at the end. */
function makePacing({ to, cancelled }: CopyTask) {
  let file: number | undefined;
  let steps = 0;
  let begin = performance.now();
  return {
    /** A step was copied; returns the pages of the next one. */
    next(): number {
      if (++steps % STEPS_PER_SYNC === 0) {
        // closing it before SQLite closes the copy would drop the locks of SQLite
        file ??= openSync(to, "r+");
        fdatasyncSync(file);
      }
      const took = performance.now() - begin;
      Atomics.wait(cancelled, 0, 0, Math.min(took, LONGEST_PAUSE_MS));
      if (Atomics.load(cancelled, 0) !== 0) throw new MailreportError("daemon.stopping");
      begin = performance.now();
      return STEP_PAGES;
    },
    close(): void {
      if (file !== undefined) closeSync(file);
    },
  };
}

async function copy(task: CopyTask): Promise<number> {
  const database = openDatabase(task.from, { readonly: true });
  const pacing = makePacing(task);
  try {
    // without a transaction the copy would begin again with each commit of another connection
    database.exec("BEGIN");
    database.prepare("SELECT count(*) FROM sqlite_schema").get();
    const { totalPages } = await database.backup(task.to, { progress: pacing.next });
    const pageSize = Number(database.pragma("page_size", { simple: true }));
    sync(task.to);
    sync(dirname(task.to));
    return totalPages * pageSize;
  } finally {
    pacing.close();
    database.close();
  }
}

/** Removes what there is of a copy that failed. What cannot be removed stays: the error of the copy is the answer. */
function remove({ to }: CopyTask): void {
  for (const path of [to, `${to}-journal`]) {
    try {
      rmSync(path, { force: true });
    } catch {}
  }
}

function failed(thrown: unknown, { to }: CopyTask): CopyAnswer {
  const error = storeError(thrown, to);
  if (!(error instanceof MailreportError)) return { ok: false, code: "store.io", detail: errorText(error) };
  return { ok: false, code: error.code, detail: error.detail ?? error.message };
}

async function answer(task: CopyTask): Promise<CopyAnswer> {
  try {
    return { ok: true, bytes: await copy(task) };
  } catch (error) {
    remove(task);
    return failed(error, task);
  }
}

parentPort?.postMessage(await answer(workerData as CopyTask));
