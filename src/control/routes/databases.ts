/** Routes about both databases: backup, check, vacuum, prune, sizes. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { perform } from "../../services/operation.ts";
import { answers } from "../answers/common.ts";
import { BACKUP, DATABASE_STATS, INTEGRITY, PRUNED, VACUUMED } from "../answers/daemon.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { NO_QUERY, optionalBody, REASON, TEXT } from "./schemas.ts";

const reason = REASON.nullish();
const question = { querystring: NO_QUERY };

export function addDatabaseRoutes(
  fastify: FastifyInstance,
  { databases }: Services,
  callerOf: CallerOf,
): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  const backup = { body: z.strictObject({ path: TEXT, reason }), response: answers(BACKUP) };
  app.post("/v1/db/backup", { schema: backup }, async (request) => ({
    files: await databases.backup.run(request.body.path, callerOf(request, request.body.reason)),
  }));
  app.get("/v1/db/check", { schema: { ...question, response: answers(INTEGRITY) } }, async () => {
    const problems = await databases.check();
    return { ok: problems.length === 0, problems };
  });
  const vacuum = { body: optionalBody({ reason }), response: answers(VACUUMED) };
  app.post("/v1/db/vacuum", { schema: vacuum }, async (request) => ({
    freed: await databases.vacuum.run(undefined, callerOf(request, request.body.reason)),
  }));
  const prune = { body: z.strictObject({ dry_run: z.boolean(), reason }), response: answers(PRUNED) };
  app.post("/v1/db/prune", { schema: prune }, async (request) => {
    const { dry_run, reason: why } = request.body;
    const { deleted } = await perform(databases.prune, undefined, callerOf(request, why), dry_run);
    return { dry_run, ...deleted };
  });
  app.get("/v1/db/stats", { schema: { ...question, response: answers(DATABASE_STATS) } }, () =>
    databases.stats(),
  );
}
