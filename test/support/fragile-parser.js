/**
 * A parser thread, but for mails that end it: KILL-THE-PROCESS, as an error in native code would; EXIT-THE-THREAD;
 * FILL-THE-THREAD, by its memory; HANG-THE-THREAD. HOLD-THE-THREAD keeps it until the file named behind these words exists.
 */
import { existsSync } from "node:fs";
import { parentPort } from "node:worker_threads";

const pause = new Int32Array(new SharedArrayBuffer(4));

function suffer(raw) {
  const text = Buffer.from(raw.subarray(0, 4096)).toString("latin1");
  const held = /HOLD-THE-THREAD (\S+)/.exec(text)?.[1];
  while (held && !existsSync(held)) Atomics.wait(pause, 0, 0, 5);
  if (text.includes("KILL-THE-PROCESS")) process.kill(process.pid, "SIGKILL");
  if (text.includes("EXIT-THE-THREAD")) process.exit(1);
  if (text.includes("HANG-THE-THREAD")) for (;;);
  if (text.includes("FILL-THE-THREAD")) for (const all = []; ; ) all.push(new Array(1000).fill(all.length));
}

const { on } = parentPort;
parentPort.on = (event, listener) =>
  on.call(parentPort, event, (task) => {
    for (const { raw } of task.mails) suffer(raw);
    listener(task);
  });
await import("../../dist/receive/ingest/parser-thread.js");
