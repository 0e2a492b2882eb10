/** Routes about the queue: envelopes, messages, pauses. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { ENVELOPE_ACTIONS } from "../../deliver/operations.ts";
import { suppressionOf, suppressionText } from "../../deliver/suppression.ts";
import { MailreportError } from "../../lib/errors.ts";
import { ENVELOPE_STATES, type EnvelopeSelection, SUBSYSTEMS } from "../../model/queue.ts";
import type { Services } from "../services.ts";
import { attemptView, envelopeView, messageView } from "../views.ts";
import { TIME as epoch, given, scheduledTime, sendRaw, TEXT as text } from "./schemas.ts";
import { addSuppressionRoutes } from "./suppressions.ts";

const envelopeFilter = {
  kind: z.enum(["dmarc", "tls"]).optional(),
  domain: text.optional(),
  rcpt: text.optional(),
  sender: text.optional(),
  state: z.enum(ENVELOPE_STATES).optional(),
  error: text.optional(),
  due_before: epoch.optional(),
  due_after: epoch.optional(),
};

const selectSchema = z.union([
  z.strictObject({ ids: z.array(text).min(1).max(10_000) }),
  z.strictObject({
    filter: z.strictObject({ ...envelopeFilter, ids: z.array(text).max(10_000).optional() }),
  }),
  z.strictObject({ all: z.literal(true) }),
]);

const actionBody = z.strictObject({
  select: selectSchema,
  at: epoch.optional(),
  dry_run: z.boolean().default(false),
  reason: z.string().max(1000).optional(),
});

function selectionOf(
  filter: z.infer<z.ZodObject<typeof envelopeFilter>> & { ids?: string[] | undefined },
): EnvelopeSelection {
  const { state, due_before, due_after, ...rest } = filter;
  return {
    ...given(rest),
    ...(state === undefined ? {} : { states: [state] }),
    ...(due_before === undefined ? {} : { dueBefore: due_before }),
    ...(due_after === undefined ? {} : { dueAfter: due_after }),
  };
}

export function addQueueRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { queue, envelopes } = services;

  app.get("/v1/envelopes/:id", { schema: { params: z.strictObject({ id: text }) } }, async (request) => {
    const envelope = queue.envelope(request.params.id);
    if (!envelope) throw new MailreportError("queue.no_such_envelope", { detail: request.params.id });
    const entry = suppressionOf(queue, envelope, services.now());
    return {
      ...envelopeView(envelope),
      ...(entry ? { suppressed: suppressionText(entry) } : {}),
      history: queue.attempts(envelope.id).map(attemptView),
    };
  });
  app.get(
    "/v1/messages/:id/raw",
    { schema: { params: z.strictObject({ id: text }) } },
    async (request, reply) =>
      sendRaw(
        reply,
        queue.rawMessage(request.params.id.slice(0, 8)),
        "queue.no_such_message",
        request.params.id,
      ),
  );
  app.get("/v1/messages/:id", { schema: { params: z.strictObject({ id: text }) } }, async (request) => {
    const id = request.params.id.slice(0, 8);
    const message = queue.message(id);
    if (!message) throw new MailreportError("queue.no_such_message", { detail: id });
    return { ...messageView(message), envelopes: queue.envelopesOf(id).map(envelopeView) };
  });

  for (const action of ENVELOPE_ACTIONS) {
    app.post(`/v1/actions/${action}`, { schema: { body: actionBody } }, async (request) => {
      const { select, at, dry_run, reason } = request.body;
      const selection: EnvelopeSelection =
        "ids" in select ? { ids: select.ids } : "filter" in select ? selectionOf(select.filter) : {};
      const time = at === undefined ? undefined : scheduledTime(at, services.now());
      return { ...envelopes.change(action, selection, { at: time, dryRun: dry_run, reason }), dry_run };
    });
  }
  const steer = z.strictObject({
    subsystem: z.enum(SUBSYSTEMS),
    destination: text.nullish(),
    reason: z.string().max(1000).nullish(),
    dry_run: z.boolean().default(false),
  });
  for (const action of ["pause", "resume"] as const) {
    app.post(`/v1/actions/${action}`, { schema: { body: steer } }, async (request) => {
      const { subsystem, destination = null, reason = null, dry_run } = request.body;
      const isPaused = queue
        .pauses()
        .some((pause) => pause.subsystem === subsystem && pause.destination === destination);
      if (dry_run) return { changed: isPaused === (action === "resume"), dry_run };
      const changed =
        action === "pause"
          ? services.pause(subsystem, destination, "control socket", reason)
          : services.resume(subsystem, destination, "control socket", reason);
      return { changed, dry_run };
    });
  }
  addSuppressionRoutes(fastify, services);
}
