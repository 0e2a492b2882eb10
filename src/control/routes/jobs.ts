/** The route that runs a periodic job now. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { rowEncoder } from "../../model/lists/field.ts";
import { JOB_RUN_FIELDS } from "../../model/lists/jobs.ts";
import { jobRunRow } from "../../services/jobs.ts";
import { answers } from "../answers/common.ts";
import { objectSchema } from "../answers/lists.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { CHANGE, optionalBody, TEXT } from "./schemas.ts";

const runView = rowEncoder(JOB_RUN_FIELDS);

const JOB_RUN = z.strictObject({
  job: z.string(),
  dry_run: z.boolean(),
  /** Null for a dry run. */
  run: objectSchema(JOB_RUN_FIELDS).nullable(),
  detail: z.record(z.string(), z.union([z.number(), z.string()])).nullable(),
  /** Of a run that failed: whether a later one may succeed. */
  temporary: z.boolean(),
});

export function addJobRoutes(fastify: FastifyInstance, { jobs }: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const schema = {
    params: z.strictObject({ name: TEXT }),
    body: optionalBody(CHANGE),
    response: answers(JOB_RUN),
  };
  app.post("/v1/jobs/:name/run", { schema }, async (request) => {
    const { name: job } = request.params;
    const { dry_run, reason } = request.body;
    const caller = callerOf(request, reason);
    if (dry_run)
      return { job, dry_run, run: null, detail: await jobs.run.dryRun(job, caller), temporary: false };
    const { run, failure } = await jobs.run.run(job, caller);
    const temporary = failure?.error.temporary ?? false;
    return { job, dry_run, run: runView(jobRunRow(run)), detail: run.detail, temporary };
  });
}
