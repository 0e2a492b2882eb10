/** Routes about the queue: envelopes and messages. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { suppressionText } from "../../deliver/suppression.ts";
import { ENVELOPE_STATES, type EnvelopeSelection } from "../../model/queue.ts";
import { ENVELOPE_ACTIONS } from "../../services/envelopes.ts";
import { perform } from "../../services/operation.ts";
import { answers, RAW } from "../answers/common.ts";
import { ENVELOPE_DETAILS, ENVELOPES_CHANGED, MESSAGE_DETAILS } from "../answers/queue.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { attemptView, envelopeView, messageView } from "../views.ts";
import { CHANGE, TIME as epoch, given, NO_QUERY, sendRaw, TEXT as text } from "./schemas.ts";

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

const actionBody = z.strictObject({ select: selectSchema, at: epoch.optional(), ...CHANGE });

const byId = { params: z.strictObject({ id: text }), querystring: NO_QUERY };

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

export function addQueueRoutes(fastify: FastifyInstance, services: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { envelopes } = services;

  app.get(
    "/v1/envelopes/:id",
    { schema: { ...byId, response: answers(ENVELOPE_DETAILS) } },
    async (request) => {
      const { envelope, suppression, history } = envelopes.envelope(request.params.id);
      return {
        ...envelopeView(envelope),
        ...(suppression ? { suppressed: suppressionText(suppression) } : {}),
        history: history.map(attemptView),
      };
    },
  );
  app.get("/v1/messages/:id/raw", { schema: { ...byId, response: RAW } }, async (request, reply) =>
    sendRaw(reply, envelopes.rawMessage(request.params.id), "queue.no_such_message", request.params.id),
  );
  app.get(
    "/v1/messages/:id",
    { schema: { ...byId, response: answers(MESSAGE_DETAILS) } },
    async (request) => {
      const { message, envelopes: of } = envelopes.message(request.params.id);
      return { ...messageView(message), envelopes: of.map(envelopeView) };
    },
  );

  for (const action of ENVELOPE_ACTIONS) {
    const schema = { body: actionBody, response: answers(ENVELOPES_CHANGED) };
    app.post(`/v1/actions/${action}`, { schema }, async (request) => {
      const { select, at, dry_run, reason } = request.body;
      const selection: EnvelopeSelection =
        "ids" in select ? { ids: select.ids } : "filter" in select ? selectionOf(select.filter) : {};
      const operation = envelopes.actions[action];
      const done = await perform(operation, { selection, at }, callerOf(request, reason), dry_run);
      return { ...done, dry_run };
    });
  }
}
