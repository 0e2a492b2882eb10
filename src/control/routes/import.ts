/**
 * Files handed in by the client: frames of u32 header length, JSON header, u32 body length, bytes. Each is read and
 * kept before its answer; several are on their way at once, so that they share commits. Answers come in order.
 */
import type { IncomingMessage } from "node:http";
import type { FastifyReply } from "fastify";
import { MailreportError } from "../../lib/errors.ts";
import type { Services } from "../services.ts";
import { importView } from "../views.ts";

const LONGEST_HEADER = 65_536;
const LARGEST_FILE = 256 << 20;
const AT_ONCE = 64;

interface ImportHeader {
  readonly file: string;
  readonly member?: string | null;
  readonly form: "mail" | "file";
}

/** Takes bytes and gives frames. Throws `request.invalid`. */
async function* frames(
  stream: AsyncIterable<Buffer>,
): AsyncGenerator<{ header: ImportHeader; body: Buffer }> {
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
      const header = JSON.parse(all.toString("utf8", 4, 4 + headerLength)) as ImportHeader;
      yield { header, body: all.subarray(bodyAt, need) };
      const rest = all.subarray(need);
      chunks = rest.length > 0 ? [rest] : [];
      size = rest.length;
      need = 4;
    }
  }
  if (size > 0) throw new MailreportError("request.invalid", { detail: "the last frame is not whole" });
}

export async function importFrames(
  stream: IncomingMessage,
  reply: FastifyReply,
  services: Services,
): Promise<FastifyReply> {
  reply.hijack();
  const out = reply.raw;
  out.writeHead(200, { "content-type": "application/x-ndjson" });
  const counts: Record<string, number> = {};
  let count = 0;
  const waiting: Promise<object>[] = [];
  const flush = async (down: number): Promise<void> => {
    while (waiting.length > down) {
      const view = await waiting.shift()!;
      out.write(`${JSON.stringify(view)}\n`);
    }
  };
  try {
    for await (const { header, body } of frames(stream)) {
      const { file, member = null, form } = header;
      const name = (member ?? file).replace(/^.*[/\\]/s, "");
      waiting.push(
        services.importOne({ raw: Buffer.from(body), fileName: name, form }).then((result) => {
          counts[result.outcome] = (counts[result.outcome] ?? 0) + 1;
          count++;
          return importView(file, member, result);
        }),
      );
      await flush(AT_ONCE);
    }
    await flush(0);
    out.end(`${JSON.stringify({ end: { count, next: null, ...counts } })}\n`);
  } catch (error) {
    const known =
      error instanceof MailreportError ? error : new MailreportError("daemon.bug", { cause: error });
    out.end(`${JSON.stringify({ error: { code: known.code, message: known.message } })}\n`);
    await Promise.allSettled(waiting);
    if (!(error instanceof MailreportError)) throw error;
  }
  return reply;
}
