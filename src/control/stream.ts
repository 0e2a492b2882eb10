/** NDJSON lists: page by page, with an end record, so that nobody takes half a list for the whole. */
import { once } from "node:events";
import type { FastifyReply } from "fastify";
import { MailreportError } from "../lib/errors.ts";

const PAGE = 500;

export interface ListPage<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/**
 * Sends up to `limit` items as NDJSON and the end record. The loop turns after each page: waiting for `drain` alone
 * would starve it when the reader is on this machine.
 */
export async function sendList<T>(
  reply: FastifyReply,
  limit: number,
  after: string | undefined,
  page: (limit: number, after: string | undefined) => ListPage<T> | Promise<ListPage<T>>,
  view: (item: T) => unknown,
): Promise<FastifyReply> {
  reply.hijack();
  const out = reply.raw;
  let closed = false;
  out.on("close", () => {
    closed = true;
  });
  let count = 0;
  let next: string | null = after ?? null;
  try {
    let first = true;
    do {
      const part: ListPage<T> = await page(Math.min(PAGE, limit - count), next ?? undefined);
      if (first) out.writeHead(200, { "content-type": "application/x-ndjson" });
      first = false;
      const lines = part.items.map((item) => `${JSON.stringify(view(item))}\n`).join("");
      count += part.items.length;
      next = part.next;
      if (lines !== "" && !out.write(lines)) await Promise.race([once(out, "drain"), once(out, "close")]);
      await new Promise((resolve) => setImmediate(resolve));
    } while (next !== null && count < limit && !closed);
    out.end(`${JSON.stringify({ end: { count, next } })}\n`);
  } catch (error) {
    const known =
      error instanceof MailreportError ? error : new MailreportError("daemon.bug", { cause: error });
    if (!out.headersSent) out.writeHead(known.httpStatus, { "content-type": "application/json" });
    out.end(`${JSON.stringify({ error: { code: known.code, message: known.message } })}\n`);
    if (known !== error) throw error;
  }
  return reply;
}

/** Sends a list that is loaded as a whole, such as sums; `after` is the number of items that were sent before. */
export function sendWhole<T>(
  reply: FastifyReply,
  limit: number,
  after: string | undefined,
  load: () => Promise<readonly T[]>,
  view: (item: T) => unknown,
): Promise<FastifyReply> {
  let all: readonly T[] | undefined;
  const page = async (n: number, at: string | undefined): Promise<ListPage<T>> => {
    all ??= await load();
    const from = Number.parseInt(at ?? "0", 10) || 0;
    return { items: all.slice(from, from + n), next: from + n < all.length ? String(from + n) : null };
  };
  return sendList(reply, limit, after, page, view);
}
