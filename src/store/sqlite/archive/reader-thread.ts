/** A reader thread as the main thread sees it: one question at a time. */
import { Worker } from "node:worker_threads";
import type { ReaderAnswer, ReaderQuestion, ReaderRequest, ReaderThreadData } from "./reader-protocol.ts";

export interface ReaderThreadOptions {
  /** archive.db */
  readonly path: string;
  /** The program of the thread. */
  readonly program: URL;
  readonly onAnswer: (answer: ReaderAnswer) => void;
  /** The thread has ended; `cause` when nobody closed it. */
  readonly onEnd: (cause: unknown) => void;
}

export class ReaderThread {
  readonly #worker: Worker;
  readonly #cancelled = new SharedArrayBuffer(4);
  #closing = false;

  /** Errors: those of the operating system, when there can be no further thread. */
  constructor({ path, program, onAnswer, onEnd }: ReaderThreadOptions) {
    const workerData: ReaderThreadData = { path, cancelled: this.#cancelled };
    const worker = new Worker(program, { workerData });
    this.#worker = worker;
    let cause: unknown;
    worker.on("message", onAnswer);
    worker.on("messageerror", (error) => {
      cause = error;
      void worker.terminate();
    });
    worker.on("error", (error) => {
      cause = error;
    });
    worker.on("exit", (code) => onEnd(this.#closing ? undefined : (cause ?? new Error(`exit ${code}`))));
  }

  /** Sends a question, after the answer to the one before. Errors: an argument that cannot be sent. */
  ask(question: ReaderQuestion): void {
    this.#worker.postMessage(question satisfies ReaderRequest);
  }

  /** Tells the thread to stop with a question. It answers all the same, as soon as it has noticed. */
  cancel(no: number): void {
    Atomics.store(new Int32Array(this.#cancelled), 0, no);
  }

  /** Tells the thread to end, after the question that it has. */
  close(): void {
    this.#closing = true;
    this.#worker.postMessage("close" satisfies ReaderRequest);
  }

  /** The process may end while the thread runs. */
  abandon(): void {
    this.#worker.unref();
  }
}
