/** The route of feed lines that the client sends. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import type { Services } from "../services.ts";

const LARGEST_BODY = 8 << 20;

const feedQuery = z.strictObject({
  name: z.string().min(1).max(100).default("control"),
  first: z.coerce.number().int().min(1).default(1),
  dry_run: z.stringbool().default(false),
});

export function addFeedRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  app.post("/v1/feed", { bodyLimit: LARGEST_BODY, schema: { querystring: feedQuery } }, async (request) => {
    const { name, first, dry_run } = request.query;
    const known = services.feeds();
    if (!known.includes(name))
      throw new MailreportError("feed.unknown", { detail: `${name} (known feeds: ${known.join(", ")})` });
    const body = typeof request.body === "string" ? request.body : "";
    const lines = body.split("\n").filter((line, i, all) => i < all.length - 1 || line !== "");
    return services.feed(name, lines, first, dry_run);
  });
}
