/** Routes about the suppression list. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { perform } from "../../services/operation.ts";
import { answers } from "../answers/common.ts";
import { SUPPRESSION_ADDED, SUPPRESSION_LOOKUP, SUPPRESSIONS_REMOVED } from "../answers/queue.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { suppressionView } from "../views.ts";
import { CHANGE, TEXT, TIME } from "./schemas.ts";

export function addSuppressionRoutes(
  fastify: FastifyInstance,
  { suppressions }: Services,
  callerOf: CallerOf,
): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  const lookup = {
    querystring: z.strictObject({ target: TEXT }),
    response: answers(SUPPRESSION_LOOKUP),
  };
  app.get("/v1/suppressions/lookup", { schema: lookup }, async (request) => {
    const { target } = request.query;
    const { suppressed, entries, waiting } = suppressions.lookup(target);
    return { target, suppressed, waiting, entries: entries.map(suppressionView) };
  });

  const add = {
    body: z.strictObject({ target: TEXT, until: TIME.nullish(), ...CHANGE }),
    response: answers(SUPPRESSION_ADDED),
  };
  app.post("/v1/suppressions", { schema: add }, async (request) => {
    const { target, until = null, reason, dry_run } = request.body;
    const asked = { target, until };
    const { entry, replaced, waiting } = await perform(
      suppressions.add,
      asked,
      callerOf(request, reason),
      dry_run,
    );
    return {
      entry: suppressionView(entry),
      replaced: replaced && suppressionView(replaced),
      waiting,
      dry_run,
    };
  });

  const remove = {
    body: z.strictObject({ targets: z.array(TEXT).min(1).max(10_000), ...CHANGE }),
    response: answers(SUPPRESSIONS_REMOVED),
  };
  app.post("/v1/suppressions/remove", { schema: remove }, async (request) => {
    const { targets, reason, dry_run } = request.body;
    const { removed, skipped } = await perform(
      suppressions.remove,
      targets,
      callerOf(request, reason),
      dry_run,
    );
    return { removed: removed.map(suppressionView), skipped, dry_run };
  });
}
