/**
 * The route of files that the client sends: frames of u32 header length, JSON header, u32 body length, bytes. The answer
 * has a line for each, in order.
 */
import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import { failureOf } from "../../lib/supervised.ts";
import type { ImportItem, ImportRequest, ImportResult } from "../../services/import.ts";
import { ERROR } from "../answers/common.ts";
import { IMPORT_LINE } from "../answers/mails.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { LineReply } from "../stream.ts";
import { importView, refusedView } from "../views.ts";
import { REASON } from "./schemas.ts";

const LONGEST_HEADER = 65_536;
const LARGEST_FILE = 256 << 20;
const importHeader = z.object({
  file: z.string(),
  member: z.string().nullish(),
  form: z.enum(["mail", "file"]),
});
type ImportHeader = z.infer<typeof importHeader>;

interface Frame {
  readonly header: ImportHeader;
  readonly body: Buffer;
}

/** Cuts bytes into frames. Throws `request.invalid`, `request.too_large`. */
async function* frames(stream: AsyncIterable<Buffer>): AsyncGenerator<Frame, undefined> {
  let chunks: Buffer[] = [];
  let size = 0;
  let need = 4;
  for await (const chunk of stream) {
    chunks.push(chunk);
    size += chunk.length;
    while (size >= need) {
      const all = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
      const headerLength = all.readUInt32BE(0);
      if (headerLength > LONGEST_HEADER)
        throw new MailreportError("request.invalid", { detail: "a frame header is too long" });
      const bodyAt = 4 + headerLength + 4;
      const bodyLength = all.length >= bodyAt ? all.readUInt32BE(4 + headerLength) : 0;
      if (bodyLength > LARGEST_FILE)
        throw new MailreportError("request.too_large", { detail: `a file of ${bodyLength} bytes` });
      chunks = [all];
      need = all.length < bodyAt ? bodyAt : bodyAt + bodyLength;
      if (size < need) break;
      yield { header: headerOf(all.toString("utf8", 4, 4 + headerLength)), body: all.subarray(bodyAt, need) };
      const rest = all.subarray(need);
      chunks = rest.length > 0 ? [rest] : [];
      size = rest.length;
      need = 4;
    }
  }
  if (size > 0) throw new MailreportError("request.invalid", { detail: "the last frame is not whole" });
  return undefined;
}

function headerOf(text: string): ImportHeader {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new MailreportError("request.invalid", { detail: "a frame header is not JSON", cause: error });
  }
  const { success, data } = importHeader.safeParse(value);
  if (success) return data;
  throw new MailreportError("request.invalid", { detail: "a frame header needs file and form" });
}

/** The client closed the connection before it had sent all. */
class ClientGone extends Error {}

/**
 * The bytes of a request. Leaving the loop does not close the connection, as the stream's own iterator would: the
 * answer is still to be sent.
 * Throws `daemon.stopping` when the signal is aborted, ClientGone.
 */
async function* chunksOf(stream: IncomingMessage, stopping: AbortSignal): AsyncGenerator<Buffer, undefined> {
  let wake: () => void = () => {};
  const onChange = (): void => wake();
  const events = ["readable", "end", "close", "error"] as const;
  for (const event of events) stream.on(event, onChange);
  stopping.addEventListener("abort", onChange);
  try {
    for (;;) {
      if (stopping.aborted) throw new MailreportError("daemon.stopping");
      const chunk = stream.read() as Buffer | null;
      if (chunk !== null) yield chunk;
      else if (stream.readableEnded) return undefined;
      else if (stream.destroyed) throw new ClientGone();
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    for (const event of events) stream.off(event, onChange);
    stopping.removeEventListener("abort", onChange);
  }
}

/** The items of a request. Throws `request.invalid`, `request.too_large`, `daemon.stopping`. */
async function* itemsOf(
  stream: IncomingMessage,
  stopping: AbortSignal,
): AsyncGenerator<ImportItem, undefined> {
  try {
    for await (const { header, body } of frames(chunksOf(stream, stopping))) {
      const { file, member = null, form } = header;
      yield { file, member, form, raw: Buffer.from(body) }; // the chunk that it lies in is not kept
    }
  } catch (error) {
    if (!(error instanceof ClientGone)) throw error;
  }
  return undefined;
}

/** One line of the answer. A line that its schema does not know is a bug. */
const checked = (line: z.input<typeof IMPORT_LINE>): object => IMPORT_LINE.parse(line);

/** The end record: how many items, by outcome, and why there are no more. */
function endOf({ count, outcomes, ended }: ImportResult): object {
  const error = ended === null ? {} : { error: { code: ended.code, message: ended.message } };
  return checked({ end: { ...outcomes, count, next: null, ...error } } as z.input<typeof IMPORT_LINE>);
}

/**
 * Imports what a request holds. An item that fails is answered with its error, and the next ones go on; after an error
 * that all would meet (no space, the daemon stops), the end record has it and nothing more is imported.
 * @param stopping the daemon stops: items in progress are finished, the rest is refused
 */
async function importItems(
  request: FastifyRequest,
  reply: FastifyReply,
  run: (items: ImportRequest) => Promise<ImportResult>,
  stopping: AbortSignal,
): Promise<FastifyReply> {
  const lines = new LineReply(reply, stopping);
  lines.begin();
  let bug: unknown;
  try {
    const result = await run({
      items: itemsOf(request.raw, stopping),
      answer: async ({ file, member }, done) => {
        try {
          const line = done.ok
            ? importView(file, member, done.value)
            : refusedView(file, member, done.failure.error);
          await lines.write([checked(line)]);
        } catch (error) {
          bug ??= error;
        }
      },
    });
    if (bug !== undefined) throw bug;
    lines.end((endOf(result) as { readonly end: object }).end);
  } catch (error) {
    lines.fail(failureOf(error).error);
    throw error;
  } finally {
    request.raw.resume(); // the rest is read and dropped, so that the client comes to the end of what it sends
  }
  return reply;
}

const schema = {
  querystring: z.strictObject({ reason: REASON.optional() }),
  response: { 200: IMPORT_LINE, "4xx": ERROR, "5xx": ERROR },
};

/** Adds the import route. Returns what ends the imports in progress, each with an answer, and waits for them. */
export function addImportRoutes(
  fastify: FastifyInstance,
  { mails }: Services,
  callerOf: CallerOf,
): () => Promise<void> {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const stopping = new AbortController();
  const running = new Set<Promise<unknown>>();
  app.post("/v1/import", { bodyLimit: Number.MAX_SAFE_INTEGER, schema }, async (request, reply) => {
    const caller = callerOf(request, request.query.reason);
    const run = (items: ImportRequest): Promise<ImportResult> => mails.import.run(items, caller);
    const one = importItems(request, reply, run, stopping.signal);
    running.add(one);
    try {
      return await one;
    } finally {
      running.delete(one);
    }
  });
  return async () => {
    stopping.abort();
    await Promise.allSettled(running);
  };
}
