/**
 * Files that the client sends: frames of u32 header length, JSON header, u32 body length, bytes. Each is stored and
 * parsed before its answer; several are in progress at once, so that they share commits. Answers come in order.
 */
import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import { type ErrorCode, MailreportError } from "../../lib/errors.ts";
import { failureOf, supervised } from "../../lib/supervised.ts";
import type { IntakeResult } from "../../store/archive/intake.ts";
import type { Services } from "../services.ts";
import { LineReply } from "../stream.ts";
import { importView, refusedView } from "../views.ts";

const LONGEST_HEADER = 65_536;
const LARGEST_FILE = 256 << 20;
/** Files in progress at once, and their bytes; one file may be larger. */
const AT_ONCE = 64;
const BYTES_AT_ONCE = 64 << 20;
/** While the ingest process has no room, an item is tried again after this; refused after that. */
const RETRY_MS = 100;
const LONGEST_WAIT_MS = 60_000;

/** Errors that the next item would meet as well: the import ends, and says so. */
const ENDING = new Set<ErrorCode>([
  "store.full",
  "store.io",
  "store.corrupt",
  "ingest.unavailable",
  "daemon.stopping",
]);

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

/** An item that is being imported; `answer` never rejects. */
interface InProgress {
  readonly bytes: number;
  readonly answer: Promise<object>;
}

/** One import: its items, what became of them, and why it ended early. */
class Import {
  readonly #services: Services;
  readonly #reply: LineReply;
  readonly #inProgress: InProgress[] = [];
  readonly #counts: Record<string, number> = {};
  #count = 0;
  #bytes = 0;
  /** Why the rest is refused. */
  ended: MailreportError | undefined;

  constructor(services: Services, reply: LineReply) {
    this.#services = services;
    this.#reply = reply;
  }

  /** Begins an item, and answers the oldest ones while too many are in progress. */
  async add({ header, body }: Frame): Promise<void> {
    const raw = Buffer.from(body); // the chunk that it lies in is not kept
    this.#bytes += raw.length;
    this.#inProgress.push({ bytes: raw.length, answer: this.#answer(header, raw) });
    while (this.#inProgress.length > AT_ONCE || (this.#bytes > BYTES_AT_ONCE && this.#inProgress.length > 1))
      await this.#answerOldest();
  }

  /** Answers all that are in progress, and ends. */
  async finish(): Promise<void> {
    while (this.#inProgress.length > 0) await this.#answerOldest();
    const { ended } = this;
    const error = ended === undefined ? {} : { error: { code: ended.code, message: ended.message } };
    this.#reply.end({ count: this.#count, next: null, ...this.#counts, ...error });
  }

  /** Ends with an error record, after the answers of the items before it. */
  async fail(error: MailreportError): Promise<void> {
    while (this.#inProgress.length > 0) await this.#answerOldest();
    this.#reply.fail(error);
  }

  async #answerOldest(): Promise<void> {
    const { bytes, answer } = this.#inProgress.shift()!;
    const line = await answer;
    this.#bytes -= bytes;
    await this.#reply.write([line]);
  }

  async #answer({ file, member = null, form }: ImportHeader, raw: Buffer): Promise<object> {
    const fileName = (member ?? file).replace(/^.*[/\\]/s, "");
    const { log } = this.#services;
    const done = await supervised({ log, unit: "import", fields: { file, member } }, () =>
      this.#store({ raw, fileName, form }),
    );
    const outcome = done.ok ? done.value.outcome : "refused";
    this.#counts[outcome] = (this.#counts[outcome] ?? 0) + 1;
    this.#count++;
    if (done.ok) return importView(file, member, done.value);
    const { error } = done.failure;
    if (ENDING.has(error.code)) this.ended ??= error;
    return refusedView(file, member, error);
  }

  /** Stores one item; when the ingest process has no room it waits for some. */
  async #store(item: Parameters<Services["importOne"]>[0]): Promise<IntakeResult> {
    for (let waited = 0; ; waited += RETRY_MS) {
      if (this.ended) throw this.ended;
      try {
        return await this.#services.importOne(item);
      } catch (error) {
        const busy = error instanceof MailreportError && error.code === "ingest.busy";
        if (!busy || waited >= LONGEST_WAIT_MS) throw error;
      }
      await this.#services.wait(RETRY_MS);
    }
  }
}

/**
 * Imports what a request holds. An item that fails is answered with its error, and the next ones go on; after an error
 * that all would meet (no space, the daemon stops), the end record carries it and nothing more is imported.
 * @param stopping the daemon stops: items in progress are finished, the rest is refused
 */
async function importFrames(
  stream: IncomingMessage,
  reply: FastifyReply,
  services: Services,
  stopping: AbortSignal,
): Promise<FastifyReply> {
  const lines = new LineReply(reply, stopping);
  lines.begin();
  const running = new Import(services, lines);
  try {
    for await (const frame of frames(chunksOf(stream, stopping))) {
      await running.add(frame);
      if (running.ended !== undefined) break;
    }
  } catch (error) {
    const known = failureOf(error).error;
    if (known.code === "daemon.stopping") running.ended ??= known;
    else if (!(error instanceof ClientGone)) {
      await running.fail(known);
      stream.resume();
      throw error;
    }
  }
  await running.finish();
  stream.resume(); // the rest is read and dropped, so that the client comes to the end of what it sends
  return reply;
}

/** Adds the import route. Returns what ends the imports in progress, each with an answer, and waits for them. */
export function addImportRoutes(fastify: FastifyInstance, services: Services): () => Promise<void> {
  const stopping = new AbortController();
  const running = new Set<Promise<unknown>>();
  fastify.post("/v1/import", { bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
    const one = importFrames(request.raw, reply, services, stopping.signal);
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
