/** The reader worker: answers questions about the archive in a thread of its own, one at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { errorText, MailreportError } from "../../../lib/errors.ts";
import type { ArchiveReader } from "../../archive.ts";
import { openArchiveReader } from "./reader.ts";
import type { ReaderAnswer, ReaderQuestion } from "./reader-client.ts";

const reader: ArchiveReader = openArchiveReader((workerData as { readonly path: string }).path);

parentPort?.on("message", (question: ReaderQuestion) => {
  void answer(question).then((reply) => parentPort?.postMessage(reply));
});

async function answer({ id, method, args }: ReaderQuestion): Promise<ReaderAnswer> {
  try {
    const call = reader[method] as (...args: unknown[]) => Promise<unknown>;
    return { id, ok: true, value: await call.apply(reader, [...args]) };
  } catch (error) {
    return error instanceof MailreportError
      ? { id, ok: false, code: error.code, detail: error.detail }
      : { id, ok: false, code: "store.io", detail: errorText(error) };
  }
}
