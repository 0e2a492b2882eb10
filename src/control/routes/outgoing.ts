/** Routes about outgoing reports. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { errorText, MailreportError } from "../../lib/errors.ts";
import { failureOf, logFailure } from "../../lib/supervised.ts";
import { iso } from "../../lib/units.ts";
import type { Services } from "../services.ts";
import { outgoingView } from "../views.ts";
import { given, scheduledTime, TEXT as text, TIME as time } from "./schemas.ts";

/** Tallies of one report that are shown: what is read, decoded and written in some milliseconds. */
const SHOWN_TALLIES = 1000;

export function addOutgoingRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { queue, outgoing } = services;

  const outgoingId = { params: z.strictObject({ id: text }) };
  app.get("/v1/outgoing/:id", { schema: outgoingId }, async (request) => {
    const report = outgoing.find(request.params.id);
    return {
      ...outgoingView(report),
      policy: queue.outgoingPolicy(report.id),
      ...talliesOf(report.id, services),
    };
  });
  app.get("/v1/outgoing/:id/preview", { schema: outgoingId }, async (request, reply) =>
    reply.type("message/rfc822").send(Buffer.from(await outgoing.preview(request.params.id))),
  );
  app.get("/v1/outgoing/:id/explain", { schema: outgoingId }, async (request) => {
    const { report, checks, verdict } = await outgoing.explain(request.params.id);
    return { ...outgoingView(report), checks, verdict };
  });
  const change = {
    ...outgoingId,
    body: z
      .strictObject({ dry_run: z.boolean().default(false), reason: z.string().max(1000).optional() })
      .nullish()
      .transform((body) => ({ dry_run: body?.dry_run ?? false, ...given({ reason: body?.reason }) })),
  };
  app.post("/v1/outgoing/:id/send", { schema: change }, async (request) => {
    const { dry_run, reason } = request.body;
    if (dry_run) {
      const plan = await outgoing.planSend(request.params.id);
      if ("sent" in plan) throw cannotSend(plan);
      return { sent: false, dry_run, id: plan.id, end: iso(plan.end), to: plan.to };
    }
    const result = await outgoing.send(request.params.id);
    services.audit("report send", { ...result, reason });
    if (!result.sent) throw cannotSend(result);
    return { sent: true, dry_run, id: result.id, message_ids: result.messageIds };
  });
  app.post("/v1/outgoing/:id/cancel", { schema: change }, async (request) => {
    const { dry_run, reason } = request.body;
    const { id, messages } = outgoing.cancel(request.params.id, dry_run);
    if (!dry_run) services.audit("report cancel", { id, reason });
    return { cancelled: !dry_run, dry_run, id, messages };
  });
  app.post("/v1/outgoing/:id/undelete", { schema: change }, async (request) => {
    const { dry_run, reason } = request.body;
    const { report, merged } = outgoing.undelete(request.params.id, dry_run);
    if (!dry_run) services.audit("report undelete", { id: report.id, merged, reason });
    const { id, state, due, end, messages } = report;
    return { undeleted: !dry_run, dry_run, id, state, end: iso(end), due: iso(due), messages, merged };
  });
  for (const action of ["hold", "release"] as const) {
    app.post(`/v1/outgoing/:id/${action}`, { schema: change }, async (request) => {
      const { dry_run, reason } = request.body;
      const changed = outgoing.hold(request.params.id, action === "hold", dry_run);
      if (!dry_run) services.audit(`report ${action}`, { id: request.params.id, changed, reason });
      return { changed, dry_run };
    });
  }
  const scheduleBody = z.strictObject({
    at: time,
    dry_run: z.boolean().default(false),
    reason: z.string().max(1000).optional(),
  });
  app.post(
    "/v1/outgoing/:id/schedule",
    { schema: { ...outgoingId, body: scheduleBody } },
    async (request) => {
      const { dry_run, reason } = request.body;
      const at = scheduledTime(request.body.at, services.now());
      const changed = outgoing.schedule(request.params.id, at, dry_run);
      if (!dry_run) services.audit("report schedule", { id: request.params.id, at, changed, reason });
      return { changed, dry_run };
    },
  );
}

/** The first tallies of a report, and how many it has. When they cannot be read, the report is shown without them. */
function talliesOf(id: string, { queue, log }: Services) {
  try {
    const { rows, total } = queue.someTallies(id, SHOWN_TALLIES);
    return { tallies: rows, tallies_total: total, tallies_error: null };
  } catch (error) {
    const failure = failureOf(error);
    logFailure({ log, unit: "reading tallies", fields: { id } }, failure);
    return { tallies: [], tallies_total: null, tallies_error: errorText(failure.error) };
  }
}

function cannotSend({ id, why }: { readonly id: string; readonly why: string }): MailreportError {
  return new MailreportError("outgoing.nothing_to_send", { detail: `${id}: ${why}` });
}
