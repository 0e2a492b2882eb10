/** Routes about the suppression list. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import type { Services } from "../services.ts";
import { sendWhole } from "../stream.ts";
import { suppressionView } from "../views.ts";
import { LIMIT, PLACE, TEXT, TIME } from "./schemas.ts";

const REASON = z.string().max(1000);

export function addSuppressionRoutes(fastify: FastifyInstance, { envelopes }: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  const listQuery = z.strictObject({
    all: z.stringbool().default(false),
    limit: LIMIT,
    after: PLACE.optional(),
  });
  app.get("/v1/suppressions", { schema: { querystring: listQuery } }, (request, reply) => {
    const { all, limit, after } = request.query;
    return sendWhole(reply, limit, after, async () => envelopes.suppressions(all), suppressionView);
  });

  const lookupQuery = z.strictObject({ target: TEXT });
  app.get("/v1/suppressions/lookup", { schema: { querystring: lookupQuery } }, async (request) => {
    const { target } = request.query;
    const { suppressed, entries, waiting } = envelopes.lookup(target);
    return { target, suppressed, waiting, entries: entries.map(suppressionView) };
  });

  const addBody = z.strictObject({
    target: TEXT,
    until: TIME.nullish(),
    reason: REASON.nullish(),
    dry_run: z.boolean().default(false),
  });
  app.post("/v1/suppressions", { schema: { body: addBody } }, async (request) => {
    const { target, until = null, reason, dry_run } = request.body;
    // a single label is a slip of the keyboard: no policy is published there
    if (!/[@.\u3002\uff0e\uff61]/.test(target))
      throw new MailreportError("suppression.bad_target", { detail: `${target}: a domain has a dot` });
    const { entry, replaced, waiting } = envelopes.suppress({
      target,
      until,
      reason: reason ?? "",
      dryRun: dry_run,
    });
    return {
      entry: suppressionView(entry),
      replaced: replaced && suppressionView(replaced),
      waiting,
      dry_run,
    };
  });

  const removeBody = z.strictObject({
    targets: z.array(TEXT).min(1).max(10_000),
    reason: REASON.optional(),
    dry_run: z.boolean().default(false),
  });
  app.post("/v1/suppressions/remove", { schema: { body: removeBody } }, async (request) => {
    const { targets, reason, dry_run } = request.body;
    const { removed, skipped } = envelopes.unsuppress(targets, dry_run, reason);
    return { removed: removed.map(suppressionView), skipped, dry_run };
  });
}
