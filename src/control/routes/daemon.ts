/** Routes about the daemon itself: state, counters, reload, stop, log level. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { ERROR_CODES } from "../../lib/errors.ts";
import { iso } from "../../lib/units.ts";
import { perform } from "../../services/operation.ts";
import { answers } from "../answers/common.ts";
import { LOG_LEVEL, RELOADED, STATS, STATUS, STOPPING, statusView, VERSIONS } from "../answers/daemon.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { API_VERSION } from "../wire.ts";
import { CHANGE, NO_QUERY, optionalBody, REASON, WAIT } from "./schemas.ts";
import { unparsedHeader } from "./unparsed.ts";

const question = { querystring: NO_QUERY };

export function addDaemonRoutes(fastify: FastifyInstance, services: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { daemon } = services;

  app.get("/v1", { schema: { ...question, response: answers(VERSIONS) } }, async () => {
    const { version, pid, startedAt } = daemon.status();
    return { name: "mailreportd" as const, version, api: [API_VERSION], pid, started_at: iso(startedAt) };
  });
  app.get("/v1/status", { schema: { ...question, response: answers(STATUS) } }, async () =>
    statusView(daemon.status()),
  );
  const stats = { querystring: z.strictObject(WAIT), response: answers(STATS) };
  app.get("/v1/stats", { schema: stats }, async (request, reply) => {
    await unparsedHeader(services, reply, request.query.wait);
    return daemon.stats();
  });
  const reload = { body: optionalBody(CHANGE), response: answers(RELOADED) };
  app.post("/v1/reload", { schema: reload }, async (request, reply) => {
    const { dry_run, reason } = request.body;
    const caller = callerOf(request, reason);
    const answer = await perform(daemon.reload, undefined, caller, dry_run);
    const { applied, needsRestart, problems, code = "config.invalid" } = answer;
    if (answer.ok) return { ok: true as const, applied, needs_restart: needsRestart, dry_run };
    // one line for each problem; the reload has logged them
    const error = { code, message: problems.join("\n"), detail: { problems }, request_id: request.id };
    return reply.code(ERROR_CODES[code].http).send({ error });
  });
  const stop = { body: optionalBody({ reason: REASON.nullish() }), response: answers(STOPPING) };
  app.post("/v1/stop", { schema: stop }, async (request) => {
    await daemon.stop.run(undefined, callerOf(request, request.body.reason));
    return { stopping: true as const };
  });
  const level = {
    body: z.strictObject({ level: z.enum(["brief", "verbose"]), reason: REASON.nullish() }),
    response: answers(LOG_LEVEL),
  };
  app.post("/v1/log", { schema: level }, async (request) => {
    const { level, reason } = request.body;
    await daemon.setLogLevel.run(level === "verbose" ? "debug" : "info", callerOf(request, reason));
    return { level };
  });
}
