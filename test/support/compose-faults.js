/** Faults of the composing thread by the policy domain of the job; loaded before its program. */
import { parentPort } from "node:worker_threads";

parentPort.addEventListener("message", (event) => {
  const domain = event.data.job?.policyDomain ?? "";
  if (domain.startsWith("exits.")) process.exit(3);
  if (domain.startsWith("hangs.")) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  if (domain.startsWith("throws.")) {
    event.stopImmediatePropagation(); // the program itself gives no answer
    throw new TypeError("a bug in the thread");
  }
});
