/**
 * The reader worker: answers questions about the archive in a thread of its own, one at a time. The archive is opened with
 * the first question; when that fails, the question gets the error and the next one tries again.
 */
import { parentPort, workerData } from "node:worker_threads";
import { errorText, MailreportError } from "../../../lib/errors.ts";
import type { ArchiveReader } from "../../archive/reader.ts";
import { openArchiveReader } from "./reader.ts";
import type { ReaderAnswer, ReaderQuestion } from "./reader-client.ts";

const { path } = workerData as { readonly path: string };
let reader: ArchiveReader | undefined;

parentPort?.on("message", (question: ReaderQuestion) => {
  void answer(question).then((reply) => parentPort?.postMessage(reply));
});

async function answer({ id, method, args }: ReaderQuestion): Promise<ReaderAnswer> {
  try {
    if (method === "close" && !reader) return { id, ok: true, value: undefined };
    reader ??= openArchiveReader(path);
    const call = reader[method] as (...args: unknown[]) => Promise<unknown>;
    return { id, ok: true, value: await call.apply(reader, [...args]) };
  } catch (error) {
    return error instanceof MailreportError
      ? { id, ok: false, code: error.code, detail: error.detail }
      : { id, ok: false, code: "store.io", detail: errorText(error) };
  }
}
