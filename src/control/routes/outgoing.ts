/** Routes about outgoing reports. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { iso } from "../../lib/units.ts";
import { perform } from "../../services/operation.ts";
import { answers, RAW } from "../answers/common.ts";
import {
  CANCELLED,
  EXPLANATION,
  OUTGOING_DETAILS,
  outgoingDetailsView,
  REPORT_CHANGED,
  SENT,
  UNDELETED,
} from "../answers/outgoing.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { outgoingView } from "../views.ts";
import { CHANGE, NO_QUERY, optionalBody, sendRaw, TEXT as text, TIME as time } from "./schemas.ts";

const params = z.strictObject({ id: text });
const question = { params, querystring: NO_QUERY };
const change = { params, body: optionalBody(CHANGE) };

export function addOutgoingRoutes(fastify: FastifyInstance, services: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { outgoing } = services;

  app.get(
    "/v1/outgoing/:id",
    { schema: { ...question, response: answers(OUTGOING_DETAILS) } },
    async (request) => outgoingDetailsView(outgoing.details(request.params.id)),
  );
  app.get("/v1/outgoing/:id/preview", { schema: { ...question, response: RAW } }, async (request, reply) => {
    const { id } = request.params;
    return sendRaw(reply, await outgoing.preview(id), "outgoing.no_such_report", id);
  });
  app.get(
    "/v1/outgoing/:id/explain",
    { schema: { ...question, response: answers(EXPLANATION) } },
    async (request) => {
      const { report, checks, verdict } = await outgoing.explain(request.params.id);
      return { ...outgoingView(report), checks, verdict };
    },
  );
  addOutgoingChanges(fastify, services, callerOf);
}

function addOutgoingChanges(fastify: FastifyInstance, { outgoing }: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  app.post("/v1/outgoing/:id/send", { schema: { ...change, response: answers(SENT) } }, async (request) => {
    const { dry_run, reason } = request.body;
    const done = await perform(outgoing.send, request.params.id, callerOf(request, reason), dry_run);
    return "messageIds" in done
      ? { sent: true as const, dry_run: false as const, id: done.id, message_ids: done.messageIds }
      : { sent: false as const, dry_run: true as const, id: done.id, end: iso(done.end), to: done.to };
  });
  app.post(
    "/v1/outgoing/:id/cancel",
    { schema: { ...change, response: answers(CANCELLED) } },
    async (request) => {
      const { dry_run, reason } = request.body;
      const report = await perform(outgoing.cancel, request.params.id, callerOf(request, reason), dry_run);
      return { cancelled: !dry_run, dry_run, id: report.id, messages: report.messages };
    },
  );
  app.post(
    "/v1/outgoing/:id/undelete",
    { schema: { ...change, response: answers(UNDELETED) } },
    async (request) => {
      const { dry_run, reason } = request.body;
      const caller = callerOf(request, reason);
      const { report, merged } = await perform(outgoing.undelete, request.params.id, caller, dry_run);
      const { id, state, due, end, messages } = report;
      return { undeleted: !dry_run, dry_run, id, state, end: iso(end), due: iso(due), messages, merged };
    },
  );
  for (const action of ["hold", "release"] as const) {
    const schema = { ...change, response: answers(REPORT_CHANGED) };
    app.post(`/v1/outgoing/:id/${action}`, { schema }, async (request) => {
      const { dry_run, reason } = request.body;
      const caller = callerOf(request, reason);
      const { changed } = await perform(outgoing[action], request.params.id, caller, dry_run);
      return { changed, dry_run };
    });
  }
  const schedule = { params, body: z.strictObject({ at: time, ...CHANGE }) };
  app.post(
    "/v1/outgoing/:id/schedule",
    { schema: { ...schedule, response: answers(REPORT_CHANGED) } },
    async (request) => {
      const { at, dry_run, reason } = request.body;
      const asked = { id: request.params.id, at };
      const { changed } = await perform(outgoing.schedule, asked, callerOf(request, reason), dry_run);
      return { changed, dry_run };
    },
  );
}
