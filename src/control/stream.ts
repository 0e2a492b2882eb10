/**
 * Answers of NDJSON lines. The last line of each is an end record or an error record, so that a list that was cut off
 * is noticed.
 */
import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";
import type { MailreportError } from "../lib/errors.ts";
import { failureOf } from "../lib/supervised.ts";

const PAGE = 500;

export interface ListPage<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** An answer that is written line by line: a slow client is waited for, one that is gone is noticed. */
export class LineReply {
  readonly #out: ServerResponse;
  readonly #hurry: AbortSignal | undefined;
  #closed = false;

  /**
   * From here on the framework writes nothing to the client.
   * @param hurry when it is aborted, a slow client is not waited for any more
   */
  constructor(reply: FastifyReply, hurry?: AbortSignal) {
    reply.hijack();
    this.#out = reply.raw;
    this.#hurry = hurry;
    this.#out.on("close", () => {
      this.#closed = true;
    });
    // the peer may be gone at any time; "close" follows
    this.#out.on("error", () => this.#out.destroy());
  }

  /** True when the client is gone, or has all of the answer. */
  get closed(): boolean {
    return this.#closed || this.#out.destroyed;
  }

  /** Sends the status and headers, once. */
  begin(): void {
    if (this.#out.headersSent) return;
    this.#out.writeHead(200, { "content-type": "application/x-ndjson" });
    this.#out.flushHeaders();
  }

  /** Writes objects as lines; resolves when the client can take more, or is gone. */
  async write(items: readonly unknown[]): Promise<void> {
    this.begin();
    if (items.length === 0 || this.closed) return;
    const text = items.map((item) => `${JSON.stringify(item)}\n`).join("");
    if (!this.#out.write(text)) await this.#drained();
  }

  /** Ends the answer with the end record. */
  end(end: object): void {
    this.begin();
    if (!this.closed) this.#out.end(`${JSON.stringify({ end })}\n`);
  }

  /** Ends the answer with an error record; with its HTTP status when nothing was sent yet. */
  fail({ code, message, httpStatus }: MailreportError): void {
    if (this.closed) return;
    if (!this.#out.headersSent) this.#out.writeHead(httpStatus, { "content-type": "application/json" });
    this.#out.end(`${JSON.stringify({ error: { code, message } })}\n`);
  }

  /** Resolves when the client has received what was written, or is gone. Removes its listeners. */
  #drained(): Promise<void> {
    const out = this.#out;
    const hurry = this.#hurry;
    if (this.closed || hurry?.aborted || !out.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        out.off("drain", done);
        out.off("close", done);
        hurry?.removeEventListener("abort", done);
        resolve();
      };
      out.on("drain", done);
      out.on("close", done);
      hurry?.addEventListener("abort", done);
    });
  }
}

/**
 * Sends up to `limit` items as NDJSON and the end record. Other work of the event loop runs after each page: waiting
 * for `drain` alone would starve it when the client is on this machine. An error is sent to the client and thrown.
 * @param more further members of the end record
 */
export async function sendList<T>(
  reply: FastifyReply,
  limit: number,
  after: string | undefined,
  page: (limit: number, after: string | undefined) => ListPage<T> | Promise<ListPage<T>>,
  view: (item: T) => unknown,
  more: Readonly<Record<string, unknown>> = {},
): Promise<FastifyReply> {
  const lines = new LineReply(reply);
  let count = 0;
  let next: string | null = after ?? null;
  try {
    do {
      const part: ListPage<T> = await page(Math.min(PAGE, limit - count), next ?? undefined);
      await lines.write(part.items.map(view));
      count += part.items.length;
      next = part.next;
      await new Promise((resolve) => setImmediate(resolve));
    } while (next !== null && count < limit && !lines.closed);
    lines.end({ count, next, ...more });
  } catch (error) {
    lines.fail(failureOf(error).error);
    throw error;
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
  more: Readonly<Record<string, unknown>> = {},
): Promise<FastifyReply> {
  let all: readonly T[] | undefined;
  const page = async (n: number, at: string | undefined): Promise<ListPage<T>> => {
    all ??= await load();
    const from = Number.parseInt(at ?? "0", 10) || 0;
    return { items: all.slice(from, from + n), next: from + n < all.length ? String(from + n) : null };
  };
  return sendList(reply, limit, after, page, view, more);
}
