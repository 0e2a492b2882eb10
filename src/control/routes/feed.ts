/** The route of feed lines that the client sends. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { BATCH, NAMED_ERRORS } from "../../feed/batch.ts";
import type { FeedReply } from "../../feed/port.ts";
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
    return feedInTurns(lines, first, (batch, at) => services.feed(name, batch, at, dry_run));
  });
}

/**
 * Feeds the lines in batches, with a turn of the event loop between two. Errors: those of `feed`; the detail then says
 * how many lines were counted before.
 */
async function feedInTurns(
  lines: readonly string[],
  first: number,
  feed: (batch: readonly string[], first: number) => FeedReply,
): Promise<FeedReply> {
  let total: FeedReply = { accepted: 0, repeated: 0, rejected: 0, errors: [] };
  for (let at = 0; at === 0 || at < lines.length; at += BATCH) {
    if (at > 0) await new Promise((resolve) => setImmediate(resolve));
    const reply = counting(at, first, () => feed(lines.slice(at, at + BATCH), first + at));
    total = {
      accepted: total.accepted + reply.accepted,
      repeated: total.repeated + reply.repeated,
      rejected: total.rejected + reply.rejected,
      errors: [...total.errors, ...reply.errors].slice(0, NAMED_ERRORS),
    };
  }
  return total;
}

/** Adds to an error that the lines before line `first + done` were counted. */
function counting(done: number, first: number, feed: () => FeedReply): FeedReply {
  try {
    return feed();
  } catch (error) {
    if (done === 0 || !(error instanceof MailreportError)) throw error;
    const counted = `lines ${first} to ${first + done - 1} were counted, no others`;
    const detail = error.detail === undefined ? counted : `${error.detail}; ${counted}`;
    throw new MailreportError(error.code, { detail, temporary: error.temporary, cause: error });
  }
}
