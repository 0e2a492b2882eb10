/** The job that copies the log of queue.db into the database, so that no commit has to. */
import { MailreportError } from "../../lib/errors.ts";
import { JOB_TABLE } from "../../model/jobs.ts";
import type { Job } from "./registry.ts";

/** @param checkpoint copies the log, in another thread. Errors: `store.*`, `compose.died`, `daemon.stopping` */
export function checkpointJob(checkpoint: () => Promise<void>): Job {
  return {
    name: "checkpoint",
    ...JOB_TABLE.checkpoint,
    run: async (signal) => {
      await unlessStopped(signal, checkpoint());
      return {};
    },
  };
}

/** Waits for work of another thread, or for the end of the daemon. Errors: those of the work; `daemon.stopping`. */
async function unlessStopped(signal: AbortSignal, work: Promise<void>): Promise<void> {
  let stop: () => void = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(new MailreportError("daemon.stopping"));
  });
  signal.addEventListener("abort", stop);
  try {
    if (signal.aborted) stop();
    await Promise.race([work, stopped]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
