/** What runs in a reader thread: questions are answered one at a time, over a read-only connection of its own. */
import type { MessagePort } from "node:worker_threads";
import { MailreportError } from "../../../lib/errors.ts";
import type { ArchiveReader } from "../../archive/reader.ts";
import type { CancelCheck } from "./cancel.ts";
import {
  failedAnswer,
  type ReaderAnswer,
  type ReaderQuestion,
  type ReaderRequest,
  type ReaderThreadData,
} from "./reader-protocol.ts";

/**
 * Answers the questions that come over `port`. The archive is opened with the first question; when that fails, the
 * question gets the error and the next one tries again.
 */
export function serveQuestions(
  port: MessagePort,
  { path, cancelled }: ReaderThreadData,
  openReader: (path: string, check: CancelCheck) => ArchiveReader,
): void {
  const flag = new Int32Array(cancelled);
  let current = 0;
  let reader: ArchiveReader | undefined;
  const check = (): void => {
    if (Atomics.load(flag, 0) === current) throw new MailreportError("archive.cancelled");
  };

  async function answer({ no, name, args }: ReaderQuestion): Promise<ReaderAnswer> {
    current = no;
    try {
      check();
      reader ??= openReader(path, check);
      const method = reader[name] as (...args: readonly unknown[]) => Promise<unknown>;
      return { no, ok: true, value: await method.apply(reader, [...args]) };
    } catch (error) {
      return failedAnswer(no, error);
    }
  }

  port.on("message", (request: ReaderRequest) => {
    if (request !== "close") {
      void answer(request).then((reply) => port.postMessage(reply));
      return;
    }
    void reader?.close();
    port.close(); // nothing is left to do: the thread ends
  });
}
