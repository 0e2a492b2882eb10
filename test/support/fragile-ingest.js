/**
 * The ingest process, but for mails that end it, as an error in native code would, or one of its parser threads
 * (fragile-parser.js). One with the words KILL-THE-READER ends the process when it arrives, one with KILL-THE-LOADER when its
 * stored bytes are loaded to be parsed; one with STOP-THE-LOADER stops it there.
 */
import { createRequire } from "node:module";
import { Socket } from "node:net";

const { push } = Socket.prototype;
Socket.prototype.push = function (chunk, ...more) {
  if (chunk?.includes("KILL-THE-READER") && !chunk.includes('"op":"quarantine"'))
    process.kill(process.pid, "SIGKILL");
  return push.call(this, chunk, ...more);
};

const Database = createRequire(import.meta.url)("better-sqlite3");
const memory = new Database(":memory:");
const statement = Object.getPrototypeOf(memory.prepare("SELECT 1"));
const { get } = statement;
statement.get = function (...values) {
  const row = get.apply(this, values);
  if (Buffer.isBuffer(row) && row.includes("KILL-THE-LOADER")) process.kill(process.pid, "SIGKILL");
  if (Buffer.isBuffer(row) && row.includes("STOP-THE-LOADER")) process.kill(process.pid, "SIGSTOP");
  return row;
};
memory.close();
const { openArchiveWriter } = await import("../../dist/store/sqlite/archive/writer.js");
const { runIngest } = await import("../../dist/receive/ingest/ingest.js");
runIngest({
  openArchive: openArchiveWriter,
  parserProgram: new URL("./fragile-parser.js", import.meta.url),
});
