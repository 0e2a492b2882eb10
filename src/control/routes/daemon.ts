/** Routes about the daemon itself: state, counters, reload, stop, log level. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { ERROR_CODES } from "../../lib/errors.ts";
import type { Services } from "../services.ts";
import { API_VERSION } from "../wire.ts";
import { WAIT } from "./schemas.ts";
import { unparsedHeader } from "./unparsed.ts";

export function addDaemonRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  app.get("/v1", async () => {
    const { version, pid, startedAt } = services.status();
    return { name: "mailreportd", version, api: [API_VERSION], pid, started_at: startedAt };
  });
  app.get("/v1/status", async () => services.status());
  app.get("/v1/stats", { schema: { querystring: z.strictObject(WAIT) } }, async (request, reply) => {
    await unparsedHeader(services, reply, request.query.wait);
    return services.stats();
  });
  const reload = { schema: { body: z.strictObject({ dry_run: z.boolean().default(false) }).prefault({}) } };
  app.post("/v1/reload", reload, async (request, reply) => {
    const answer = await services.reload(request.body.dry_run);
    return reply.code(answer.ok ? 200 : ERROR_CODES[answer.code ?? "config.invalid"].http).send(answer);
  });
  app.post("/v1/stop", async () => {
    setImmediate(() => services.stop());
    return { stopping: true };
  });
  app.post(
    "/v1/log",
    { schema: { body: z.strictObject({ level: z.enum(["brief", "verbose"]) }) } },
    async (request) => {
      services.setLogLevel(request.body.level === "verbose" ? "debug" : "info");
      return { level: request.body.level };
    },
  );
}
