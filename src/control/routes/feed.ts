/** The route of feed lines that the client sends. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { perform } from "../../services/operation.ts";
import { answers } from "../answers/common.ts";
import { FED } from "../answers/mails.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { REASON } from "./schemas.ts";

const LARGEST_BODY = 8 << 20;

const schema = {
  querystring: z.strictObject({
    name: z.string().min(1).max(100).default("control"),
    first: z.coerce.number().int().min(1).default(1),
    dry_run: z.stringbool().default(false),
    reason: REASON.optional(),
  }),
  /** Lines of JSON; none without a body. */
  body: z.preprocess((body) => body ?? "", z.string()),
  response: answers(FED),
};

export function addFeedRoutes(fastify: FastifyInstance, { feeds }: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  app.post("/v1/feed", { bodyLimit: LARGEST_BODY, schema }, async (request) => {
    const { name, first, dry_run, reason } = request.query;
    const lines = request.body.split("\n").filter((line, i, all) => i < all.length - 1 || line !== "");
    const asked = { name, lines, first };
    const reply = await perform(feeds.lines, asked, callerOf(request, reason), dry_run);
    const { accepted, repeated, rejected, errors } = reply;
    return { accepted, repeated, rejected, errors };
  });
}
