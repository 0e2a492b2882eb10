/** Routes about both databases: backup, check, vacuum, prune, sizes. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Services } from "../services.ts";
import { TEXT as text } from "./schemas.ts";

export function addDatabaseRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  app.post("/v1/db/backup", { schema: { body: z.strictObject({ path: text }) } }, async (request) => {
    const files = await services.databases.backup(request.body.path);
    services.audit("db backup", { files: files.map((file) => file.path) });
    return { files };
  });
  app.get("/v1/db/check", async () => {
    const problems = await services.databases.check();
    return { ok: problems.length === 0, problems };
  });
  app.post("/v1/db/vacuum", async () => ({ freed: await services.databases.vacuum() }));
  app.post(
    "/v1/db/prune",
    { schema: { body: z.strictObject({ dry_run: z.boolean() }) } },
    async (request) => {
      const counts = await services.databases.prune(request.body.dry_run);
      if (!request.body.dry_run) services.audit("db prune", counts);
      return counts;
    },
  );
  app.get("/v1/db/stats", async () => services.databases.stats());
}
