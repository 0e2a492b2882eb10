/** Routes about the periodic jobs: their list, and a run now. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { iso } from "../../lib/units.ts";
import { JOB_RESULTS, JOB_STATES, type JobRun, type JobStatus } from "../../model/jobs.ts";
import type { Services } from "../services.ts";
import { sendWhole } from "../stream.ts";
import { LIMIT, PLACE, TEXT } from "./schemas.ts";

const WHO = "control socket";
const WHEN = z.string().nullable();
const COUNT = z.number().int().min(0);
const DETAIL = z.record(z.string(), z.union([z.number(), z.string()])).nullable();

const lastRun = z.strictObject({
  begun_at: z.string(),
  ended_at: WHEN,
  took_ms: COUNT.nullable(),
  result: z.enum(JOB_RESULTS).nullable(),
  who: z.string(),
  error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  detail: DETAIL,
});

/** An item of the list of jobs. */
const jobItem = z.strictObject({
  name: z.string(),
  about: z.string(),
  schedule: z.string(),
  state: z.enum(JOB_STATES),
  last: lastRun.nullable(),
  next_at: WHEN,
  runs: COUNT,
  failures: COUNT,
});

const runAnswer = z.strictObject({
  job: z.string(),
  dry_run: z.boolean(),
  /** Null for a dry run. */
  run: lastRun.nullable(),
  detail: DETAIL,
  /** Of a run that failed: whether a later one may succeed. */
  temporary: z.boolean(),
});

const runView = (run: JobRun): z.infer<typeof lastRun> => ({
  begun_at: iso(run.begunAt),
  ended_at: run.endedAt === null ? null : iso(run.endedAt),
  took_ms: run.durationMs,
  result: run.result,
  who: run.who,
  error: run.code === null ? null : { code: run.code, message: run.error ?? "" },
  detail: run.detail,
});

const jobView = ({ last, nextAt, ...job }: JobStatus): z.infer<typeof jobItem> => ({
  ...job,
  last: last && runView(last),
  next_at: nextAt === null ? null : iso(nextAt),
  runs: last?.runs ?? 0,
  failures: last?.failures ?? 0,
});

export function addJobRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  const listQuery = z.strictObject({ limit: LIMIT, after: PLACE.optional() });
  app.get("/v1/jobs", { schema: { querystring: listQuery } }, (request, reply) => {
    const { limit, after } = request.query;
    return sendWhole(reply, limit, after, async () => services.jobs.list(), jobView);
  });

  const body = z.strictObject({
    reason: z.string().max(1000).optional(),
    dry_run: z.boolean().default(false),
  });
  const params = z.strictObject({ name: TEXT });
  const run = { schema: { params, body, response: { 200: runAnswer } } };
  app.post("/v1/jobs/:name/run", run, async (request) => {
    const { name: job } = request.params;
    const { dry_run, reason } = request.body;
    const { jobs, audit } = services;
    if (dry_run) return { job, dry_run, run: null, detail: await jobs.dryRun(job), temporary: false };
    const running = jobs.run(job, WHO);
    audit("jobs run", { job, reason });
    const { run, failure } = await running;
    return {
      job,
      dry_run,
      run: runView(run),
      detail: run.detail,
      temporary: failure?.error.temporary ?? false,
    };
  });
}
