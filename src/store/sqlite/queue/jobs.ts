/** The last run of each job. */
import type { JobRun } from "../../../model/jobs.ts";
import type { QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import type { QueueTransaction } from "./transaction.ts";

type Row = Omit<JobRun, "detail"> & { readonly detail: string | null };

export function makeJobs(
  database: Sqlite,
  transaction: QueueTransaction,
): Pick<QueueStore, "jobRuns" | "putJobRun"> {
  const all = database.prepare<[], Row>(
    `SELECT name, begun_at AS begunAt, ended_at AS endedAt, duration_ms AS durationMs, result, who, code, error, detail,
       runs, failures FROM job ORDER BY name`,
  );
  const put = database.prepare(
    `INSERT OR REPLACE INTO job (name, begun_at, ended_at, duration_ms, result, who, code, error, detail, runs, failures)
     VALUES (@name, @begunAt, @endedAt, @durationMs, @result, @who, @code, @error, @detail, @runs, @failures)`,
  );
  return {
    jobRuns: () =>
      all.all().map((row) => ({
        ...row,
        detail: row.detail === null ? null : (JSON.parse(row.detail) as JobRun["detail"]),
      })),
    putJobRun: (run) =>
      transaction.run(
        () => void put.run({ ...run, detail: run.detail === null ? null : JSON.stringify(run.detail) }),
      ),
  };
}
