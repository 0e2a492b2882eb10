/**
 * The composing thread as built, with faults, and a file that tells that it answered: `answered` beside queue.db holds
 * the number of its thread.
 */
import "./compose-faults.js";
import "../../dist/report/compose/worker.js";
import { renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parentPort, threadId, workerData } from "node:worker_threads";

const answered = join(dirname(workerData.path), "answered");
parentPort.on("message", () => {
  // who sees the file sees its content
  writeFileSync(`${answered}.new`, String(threadId));
  renameSync(`${answered}.new`, answered);
});
