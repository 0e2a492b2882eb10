/** The archive for the main thread: every question is answered by a reader thread. */
import type { ArchiveQuestions, ArchiveReader, Asker } from "../../archive/reader.ts";
import { ReaderPool, type ReaderPoolOptions } from "./reader-pool.ts";
import { QUESTION_NAMES, type QuestionName } from "./reader-protocol.ts";

/** Starts the reader threads over the archive. Errors: those of the operating system, when no thread can be started. */
export function startArchiveReader(options: ReaderPoolOptions): ArchiveQuestions {
  const pool = new ReaderPool(options);

  const answering = (asker: Asker): Omit<ArchiveReader, "close"> => {
    const methods = QUESTION_NAMES.map((name): [QuestionName, unknown] => [
      name,
      (...args: readonly unknown[]) => pool.ask(name, args, asker),
    ]);
    return Object.fromEntries(methods) as unknown as Omit<ArchiveReader, "close">;
  };

  return {
    ...answering({}),
    for: (asker) => ({ ...answering(asker), close: async () => undefined }),
    counters: () => pool.counters(),
    close: () => pool.close(),
  };
}
