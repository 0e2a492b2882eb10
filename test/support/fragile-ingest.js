/**
 * The ingest process, but for mails that end it, as an error in the engine would: one with the words KILL-THE-READER ends
 * the process when it arrives, one with KILL-THE-PARSER when its stored bytes are loaded to be parsed; one with STOP-THE-PARSER stops it there.
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
  // a plucked statement gives the bytes themselves
  const body = Buffer.isBuffer(row) ? row : row?.body;
  if (Buffer.isBuffer(body) && body.includes("KILL-THE-PARSER")) process.kill(process.pid, "SIGKILL");
  if (Buffer.isBuffer(body) && body.includes("STOP-THE-PARSER")) process.kill(process.pid, "SIGSTOP");
  return row;
};
memory.close();
await import("../../dist/receive/ingest/child.js");
