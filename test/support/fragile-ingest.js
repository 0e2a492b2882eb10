/**
 * The ingest process, but for mails that kill it: one with the words KILL-THE-READER in it ends the process while it is
 * read, as an error in the engine would.
 */
import { Socket } from "node:net";

const { push } = Socket.prototype;
Socket.prototype.push = function (chunk, ...more) {
  if (chunk?.includes("KILL-THE-READER") && !chunk.includes('"op":"quarantine"'))
    process.kill(process.pid, "SIGKILL");
  return push.call(this, chunk, ...more);
};
await import("../../dist/receive/ingest/child.js");
