/** All routes of the control protocol, once, with their schemas. They hold no state. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import { OUTGOING_STATES } from "../../model/outgoing.ts";
import { ENVELOPE_STATES, type EnvelopeSelection, SUBSYSTEMS } from "../../model/queue.ts";
import type { Services } from "../services.ts";
import { sendList } from "../stream.ts";
import { envelopeView, outgoingView } from "../views.ts";
import { API_VERSION } from "../wire.ts";
import { addArchiveRoutes } from "./archive.ts";
import { importFrames } from "./import.ts";
import { TIME as epoch, given, LIMIT as limit, sendRaw, TEXT as text } from "./schemas.ts";

const after = z.string().max(200).optional();

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

export function addRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { queue, outgoing } = services;
  addArchiveRoutes(fastify, services);

  // ---- the daemon ------------------------------------------------------------
  app.get("/v1", async () => {
    const { version, pid, startedAt } = services.status();
    return { name: "mailreportd", version, api: [API_VERSION], pid, started_at: startedAt };
  });
  app.get("/v1/status", async () => services.status());
  app.get("/v1/stats", async () => services.stats());
  app.post("/v1/reload", async (_request, reply) => {
    const answer = await services.reload();
    return reply.code(answer.ok ? 200 : 422).send(answer);
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

  // ---- the queue -------------------------------------------------------------
  app.get(
    "/v1/queue",
    { schema: { querystring: z.strictObject({ ...envelopeFilter, id: text.optional(), limit, after }) } },
    (request, reply) => {
      const { limit: most, after: from, id, ...filter } = request.query;
      const selection = { ...selectionOf(filter), ...(id === undefined ? {} : { ids: [id] }) };
      return sendList(
        reply,
        most,
        from,
        (n, at) => queue.listEnvelopes(selection, { limit: n, ...(at === undefined ? {} : { after: at }) }),
        envelopeView,
      );
    },
  );
  app.get("/v1/envelopes/:id", { schema: { params: z.strictObject({ id: text }) } }, async (request) => {
    const envelope = queue.envelope(request.params.id);
    if (!envelope) throw new MailreportError("queue.no_such_envelope", { detail: request.params.id });
    return { ...envelopeView(envelope), history: queue.attempts(envelope.id) };
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
    return { ...message, envelopes: queue.envelopesOf(id).map(envelopeView) };
  });

  for (const action of ["schedule", "remove", "hold", "release"] as const) {
    app.post(`/v1/actions/${action}`, { schema: { body: actionBody } }, async (request) => {
      const { select, at, dry_run, reason } = request.body;
      const selection: EnvelopeSelection =
        "ids" in select ? { ids: select.ids } : "filter" in select ? selectionOf(select.filter) : {};
      if (dry_run) return { matched: queue.countEnvelopes(selection), changed: 0, skipped: [], dry_run };
      const now = services.now();
      const result =
        action === "schedule"
          ? queue.scheduleEnvelopes(selection, at ?? now)
          : action === "remove"
            ? queue.removeEnvelopes(selection, now)
            : queue.holdEnvelopes(selection, action === "hold", now);
      services.audit(action, { select, changed: result.changed, reason });
      services.wakeDelivery();
      return { ...result, dry_run };
    });
  }
  const steer = z.strictObject({
    subsystem: z.enum(SUBSYSTEMS),
    destination: text.nullish(),
    reason: z.string().max(1000).nullish(),
  });
  for (const action of ["pause", "resume"] as const) {
    app.post(`/v1/actions/${action}`, { schema: { body: steer } }, async (request) => {
      const { subsystem, destination, reason } = request.body;
      const changed =
        action === "pause"
          ? services.pause(subsystem, destination ?? null, "control socket", reason ?? null)
          : services.resume(subsystem, destination ?? null);
      return { changed };
    });
  }
  app.get("/v1/pauses", async () => ({ items: queue.pauses() }));
  app.get("/v1/suppressions", async () => ({ items: queue.suppressions() }));

  // ---- outgoing reports --------------------------------------------------------
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
  app.post("/v1/outgoing/:id/send", { schema: outgoingId }, async (request) => {
    const result = await outgoing.send(request.params.id);
    services.audit("report send", { ...result });
    if (!result.sent)
      throw new MailreportError("outgoing.nothing_to_send", { detail: `${result.id}: ${result.why}` });
    return { sent: true, id: result.id, message_ids: result.messageIds };
  });
  app.post("/v1/outgoing/:id/cancel", { schema: outgoingId }, async (request) => {
    const { id } = outgoing.cancel(request.params.id);
    services.audit("report cancel", { id });
    return { cancelled: true, id };
  });
  for (const action of ["hold", "release"] as const) {
    app.post(`/v1/outgoing/:id/${action}`, { schema: outgoingId }, async (request) => ({
      changed: outgoing.hold(request.params.id, action === "hold"),
    }));
  }

  // ---- the databases -------------------------------------------------------------
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

  // ---- in ----------------------------------------------------------------------
  app.post("/v1/import", { bodyLimit: Number.MAX_SAFE_INTEGER }, (request, reply) =>
    importFrames(request.raw, reply, services),
  );
  app.post(
    "/v1/feed",
    {
      bodyLimit: 8 << 20,
      schema: {
        querystring: z.strictObject({
          name: z
            .string()
            .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/i)
            .default("control"),
          first: z.coerce.number().int().min(1).default(1),
        }),
      },
    },
    async (request) => {
      const body = typeof request.body === "string" ? request.body : "";
      return services.feed(
        request.query.name,
        body.split("\n").filter((line, i, all) => i < all.length - 1 || line !== ""),
        request.query.first,
      );
    },
  );
}
