/** What carries out each job of the table in model/jobs.ts. */
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log/log.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import { JOB_TABLE, type JobName } from "../../model/jobs.ts";
import { copyDatabase } from "../../store/sqlite/copy.ts";
import type { DatabasePaths } from "../database-paths.ts";
import { checkDatabases, makeDatabases } from "../databases.ts";
import type { Parts } from "../parts.ts";
import { checkpointJob } from "./checkpoint.ts";
import { databaseCheckJob } from "./database-check.ts";
import { type Job, JobRegistry } from "./registry.ts";
import { retentionJob } from "./retention.ts";

/** How long a question of a job may take: as long as it needs, but not for ever. */
const DEADLINE_MS = 3_600_000;

export interface JobOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
}

function jobsOf(parts: Parts, paths: DatabasePaths, options: JobOptions): readonly Job[] {
  const config = () => parts.config;
  const [ingest, queue] = [parts.need("ingest"), parts.need("queue")];
  const archive = parts.need("archive").for({ deadlineMs: DEADLINE_MS });
  const composer = parts.need("composer");
  const jobs: Readonly<Record<JobName, Job>> = {
    retention: retentionJob({ ...options, config, archive, ingest, queue }),
    checkpoint: checkpointJob(() => composer.checkpoint()),
    "database-check": databaseCheckJob(config, (signal) => checkDatabases(paths, signal)),
  };
  return (Object.keys(JOB_TABLE) as JobName[]).map((name) => jobs[name]);
}

/** Makes and starts the jobs, and what operators do to the databases. Errors: those of the queue store. */
export function startJobs(parts: Parts, options: JobOptions): { stop(): Promise<void> } {
  const state = parts.config.state_directory;
  const paths = { archivePath: join(state, "archive.db"), queuePath: join(state, "queue.db") };
  const store = parts.need("queue");
  const registry = new JobRegistry({ ...options, jobs: jobsOf(parts, paths, options), store });
  registry.start();
  const databases = makeDatabases({
    ...paths,
    ...options,
    archive: parts.need("archive"),
    ingest: parts.need("ingest"),
    queue: store,
    copy: (from, to, signal) => copyDatabase(from, to, { signal }),
    stopping: registry.stopping,
    expired: () => registry.dryRun("retention"),
    prune: async (who) => {
      const { run, failure } = await registry.run("retention", who);
      return { deleted: run.detail ?? {}, failure: failure?.error ?? null };
    },
  });
  parts.made.databases = databases;
  parts.made.jobs = registry;
  return {
    async stop() {
      await registry.stop();
      await databases.ended();
    },
  };
}
