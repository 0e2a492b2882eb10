/** The composing thread: one request at a time, over a connection to queue.db of its own. */
import { parentPort, workerData } from "node:worker_threads";
import { errorText, MailreportError } from "../../lib/errors.ts";
import { openTallyReader, type TallyReader } from "../../store/sqlite/queue/tally-reader.ts";
import { type Composed, composeJob } from "./job.ts";
import type { Answer, Request, Result } from "./protocol.ts";

const { path } = workerData as { readonly path: string };
let tallies: TallyReader | undefined;

parentPort?.on("message", (request: Request) => {
  const result = resultOf(request);
  const buffers = result.ok && result.composed ? buffersOf(result.composed) : [];
  parentPort?.postMessage({ no: request.no, ...result } satisfies Answer, buffers);
});

function resultOf(request: Request): Result {
  try {
    tallies ??= openTallyReader(path);
    if (request.ask === "compose") return { ok: true, composed: owned(composeJob(request.job, tallies)) };
    tallies.checkpoint();
    return { ok: true, composed: null };
  } catch (error) {
    const stack = error instanceof Error ? error.stack : undefined;
    return error instanceof MailreportError
      ? { ok: false, code: error.code, detail: error.detail, temporary: error.temporary, stack }
      : { ok: false, code: null, detail: errorText(error), temporary: false, stack };
  }
}

/** Each message in memory of its own, which can be handed over instead of copied. */
function owned({ mails, ...rest }: Composed): Composed {
  return {
    ...rest,
    mails: mails.map((mail) => ({
      ...mail,
      raw: mail.raw.byteLength === mail.raw.buffer.byteLength ? mail.raw : new Uint8Array(mail.raw),
    })),
  };
}

/** Recipients of the same document may share its memory. */
function buffersOf({ mails }: Composed): ArrayBuffer[] {
  return [...new Set(mails.map(({ raw }) => raw.buffer as ArrayBuffer))];
}
