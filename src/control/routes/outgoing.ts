/** Routes about outgoing reports. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import { OUTGOING_STATES } from "../../model/outgoing.ts";
import type { Services } from "../services.ts";
import { sendList } from "../stream.ts";
import { outgoingView } from "../views.ts";
import { AFTER as after, given, LIMIT as limit, TEXT as text } from "./schemas.ts";

export function addOutgoingRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { queue, outgoing } = services;

  const outgoingQuery = z.strictObject({
    kind: z.enum(["dmarc", "tls"]).optional(),
    domain: text.optional(),
    state: z.enum([...OUTGOING_STATES, "waiting", "any"]).default("waiting"),
    limit,
    after,
  });
  app.get("/v1/outgoing", { schema: { querystring: outgoingQuery } }, (request, reply) => {
    const { kind, domain, state, limit: most, after: from } = request.query;
    const states =
      state === "any" ? undefined : state === "waiting" ? (["open", "held"] as const) : ([state] as const);
    const selection = { ...given({ kind, domain }), ...(states ? { states } : {}) };
    return sendList(
      reply,
      most,
      from,
      (n, at) => queue.listOutgoing(selection, { limit: n, ...(at === undefined ? {} : { after: at }) }),
      outgoingView,
    );
  });
  const actionBody = z.strictObject({ dry_run: z.boolean().default(false) }).prefault({});
  const outgoingId = { params: z.strictObject({ id: text }) };
  app.get("/v1/outgoing/:id", { schema: outgoingId }, async (request) => {
    const report = outgoing.find(request.params.id);
    return {
      ...outgoingView(report),
      policy: queue.outgoingPolicy(report.id),
      tallies: queue.tallies(report.id),
    };
  });
  app.get("/v1/outgoing/:id/preview", { schema: outgoingId }, async (request, reply) =>
    reply.type("message/rfc822").send(Buffer.from(await outgoing.preview(request.params.id))),
  );
  app.get("/v1/outgoing/:id/explain", { schema: outgoingId }, async (request) => {
    const { report, checks, verdict } = await outgoing.explain(request.params.id);
    return { ...outgoingView(report), checks, verdict };
  });
  const action = { schema: { ...outgoingId, body: actionBody } };
  app.post("/v1/outgoing/:id/send", action, async (request) => {
    if (request.body.dry_run) {
      const { report, verdict } = await outgoing.explain(request.params.id);
      return { sent: false, id: report.id, message_ids: [], verdict, dry_run: true };
    }
    const result = await outgoing.send(request.params.id);
    services.audit("report send", { ...result });
    if (!result.sent)
      throw new MailreportError("outgoing.nothing_to_send", { detail: `${result.id}: ${result.why}` });
    return { sent: true, id: result.id, message_ids: result.messageIds };
  });
  app.post("/v1/outgoing/:id/cancel", action, async (request) => {
    if (request.body.dry_run) {
      const report = outgoing.find(request.params.id);
      if (report.state !== "open" && report.state !== "held")
        throw new MailreportError("outgoing.not_open", { detail: report.id });
      return { cancelled: false, id: report.id, dry_run: true };
    }
    const { id } = outgoing.cancel(request.params.id);
    services.audit("report cancel", { id });
    return { cancelled: true, id };
  });
  for (const verb of ["hold", "release"] as const) {
    app.post(`/v1/outgoing/:id/${verb}`, action, async (request) => {
      if (request.body.dry_run) {
        const { state } = outgoing.find(request.params.id);
        return { changed: state === (verb === "hold" ? "open" : "held"), dry_run: true };
      }
      return { changed: outgoing.hold(request.params.id, verb === "hold") };
    });
  }
}
