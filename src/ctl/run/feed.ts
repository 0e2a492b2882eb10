/** `feed`: sends evaluations and TLS sessions, batch by batch. */
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { type Call, reasonOf } from "../call.ts";
import { ClientError } from "../client.ts";
import { fileSource } from "../files.ts";
import { str } from "../render.ts";

/** Lines and characters of one request. */
const BATCH_LINES = 500;
const BATCH_SIZE = 1 << 20;
/** A line is cut here; the daemon refuses shorter ones than this as too long. */
const LONGEST_LINE = 1 << 17;

interface Reply {
  readonly accepted: number;
  readonly repeated: number;
  readonly rejected: number;
  readonly errors: readonly { readonly line: number; readonly reason: string }[];
}

/** The lines of a stream of bytes, an overlong one cut. */
async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop()!.slice(0, LONGEST_LINE);
    for (const part of parts) yield part.slice(0, LONGEST_LINE);
  }
  if (rest !== "") yield rest;
  return undefined;
}

/** Carries out `feed`. */
export async function runFeed(call: Call): Promise<number> {
  const { parsed, client, form, around } = call;
  const dryRun = parsed.options["dry-run"] === true;
  const total = { accepted: 0, repeated: 0, rejected: 0 };
  const errors: { line: number; reason: string }[] = [];
  let first = 1;
  let batch: string[] = [];
  let size = 0;
  const send = async (): Promise<void> => {
    const params = new URLSearchParams({ name: str(parsed.options.name) || "control", first: String(first) });
    if (dryRun) params.set("dry_run", "true");
    const { reason } = reasonOf(call);
    if (reason !== undefined) params.set("reason", reason);
    const text = `${batch.join("\n")}\n`;
    const reply = await client.json<Reply>("POST", `/v1/feed?${params}`, text, "application/x-ndjson");
    total.accepted += reply.accepted;
    total.repeated += reply.repeated;
    total.rejected += reply.rejected;
    errors.push(...reply.errors);
    first += batch.length;
    batch = [];
    size = 0;
  };
  try {
    for await (const line of linesOf(fileSource(parsed.operands[0]!, around.stdin))) {
      batch.push(line);
      size += line.length;
      if (batch.length >= BATCH_LINES || size >= BATCH_SIZE) await send();
    }
    if (batch.length > 0) await send();
  } catch (error) {
    if (error instanceof ClientError && first > 1 && !dryRun)
      around.err(`mailreportctl: the lines before line ${first} were counted, the others were not\n`);
    throw error;
  }
  for (const { line, reason } of errors) around.err(`mailreportctl: line ${line}: ${clean(reason)}\n`);
  const { accepted, repeated, rejected } = total;
  if (form === "json")
    around.out(`${JSON.stringify({ ...total, errors, ...(dryRun ? { dry_run: true } : {}) })}\n`);
  else if (dryRun) around.out(`${accepted} would be accepted, ${rejected} would be rejected\n`);
  else
    around.out(
      `${accepted} accepted${repeated > 0 ? ` (${repeated} of them repeated)` : ""}, ${rejected} rejected\n`,
    );
  if (dryRun) around.err("note: nothing was counted; which of them were counted before is not known\n");
  return rejected > 0 ? EXIT.DATAERR : EXIT.OK;
}
