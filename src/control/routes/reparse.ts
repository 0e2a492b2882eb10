/** The route that parses stored mails again. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import { OUTCOMES } from "../../model/outcome.ts";
import { perform } from "../../services/operation.ts";
import type { ReparseRequest } from "../../services/reparse.ts";
import { answers } from "../answers/common.ts";
import { REPARSED } from "../answers/mails.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { CHANGE, TEXT } from "./schemas.ts";

const body = z.strictObject({
  ids: z.array(TEXT).max(10_000).optional(),
  outcome: z.enum([...OUTCOMES, "failed", "spooled"]).optional(),
  all: z.literal(true).optional(),
  ...CHANGE,
});

/** Named mails or reports go before an outcome, and that before all. Errors: `request.invalid` for none of them. */
function asked({ ids, outcome, all }: z.infer<typeof body>): ReparseRequest {
  if (ids) return { ids };
  if (outcome) return { outcome };
  if (all) return { all };
  throw new MailreportError("request.invalid", { detail: "ids, outcome or all" });
}

export function addReparseRoutes(fastify: FastifyInstance, { mails }: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  app.post("/v1/reparse", { schema: { body, response: answers(REPARSED) } }, async (request) => {
    const { dry_run, reason } = request.body;
    const caller = callerOf(request, reason);
    const done = await perform(mails.reparse, asked(request.body), caller, dry_run);
    const { parsed, outcomes, skipped, noRaw } = done;
    return { parsed, outcomes, skipped, no_raw: noRaw, dry_run };
  });
}
