/** Composing in tests: in this thread, where a test wants nothing to run beside it; or the built program's thread. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type ComposeJob, type Composer, composeJob } from "../../src/report/compose/job.ts";
import { openTallyReader, type TallyReader } from "../../src/store/sqlite/queue/tally-reader.ts";
import { ROOT } from "./build.ts";

/** The composing thread, as built. */
export const COMPOSE_PROGRAM = pathToFileURL(join(ROOT, "dist/report/compose/worker.js"));

/**
 * Composes in this thread.
 * @param before called with each job; what it throws is the error of the job
 */
export function inlineComposer(
  path: string,
  before: (job: ComposeJob) => void | Promise<void> = () => {},
): Composer {
  let tallies: TallyReader | undefined;
  return {
    async compose(job) {
      await before(job);
      tallies ??= openTallyReader(path);
      return composeJob(job, tallies);
    },
    async checkpoint() {},
    async stop() {
      tallies?.close();
      tallies = undefined;
    },
  };
}
