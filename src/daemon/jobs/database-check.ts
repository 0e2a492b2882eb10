/** The job that checks the integrity of both databases. */
import type { Config } from "../../config/schema.ts";
import { MailreportError } from "../../lib/errors.ts";
import { JOB_TABLE } from "../../model/jobs.ts";
import type { Job } from "./registry.ts";

/** Damage that the error of a run names; `db check` shows all. */
const NAMED = 3;

/**
 * @param check the damage of both databases, empty for none; checks in another process, which `signal` ends
 */
export function databaseCheckJob(
  config: () => Config,
  check: (signal: AbortSignal) => Promise<readonly string[]>,
): Job {
  return {
    name: "database-check",
    about: JOB_TABLE["database-check"].about,
    schedule: () => JOB_TABLE["database-check"].schedule(config().jobs),
    run: async (signal) => {
      const problems = await check(signal);
      if (problems.length === 0) return { problems: 0 };
      const more = problems.length > NAMED ? `; and ${problems.length - NAMED} more` : "";
      throw new MailreportError("store.corrupt", {
        detail: `${problems.slice(0, NAMED).join("; ")}${more} (db check)`,
      });
    },
  };
}
