/**
 * The ingest process, except that a mail with the words KILL-THE-READER ends the process while it is parsed, as an error
 * in the JavaScript engine would.
 */
import { Socket } from "node:net";

const { push } = Socket.prototype;
Socket.prototype.push = function (chunk, ...more) {
  if (chunk?.includes("KILL-THE-READER") && !chunk.includes('"op":"quarantine"'))
    process.kill(process.pid, "SIGKILL");
  return push.call(this, chunk, ...more);
};
await import("../../dist/receive/ingest/child.js");
