/**
 * Copies a database while it is in use, in a thread of its own: the thread that writes the database does not wait, and
 * neither do its syncs for long, since the copy is written in pieces.
 */
import { Worker } from "node:worker_threads";
import { type ErrorCode, errorText, MailreportError } from "../../lib/errors.ts";

/** What the thread is given. */
export interface CopyTask {
  readonly from: string;
  readonly to: string;
  /** One number: 1 when the copy is not wanted any more. */
  readonly cancelled: Int32Array;
}

/** What the thread answers before it ends. */
export type CopyAnswer =
  | { readonly ok: true; readonly bytes: number }
  | { readonly ok: false; readonly code: ErrorCode; readonly detail: string };

export interface DatabaseCopy {
  /** Size of the copy. */
  readonly bytes: number;
}

/** Copies the database at `from` to the new file `to`; durable when it resolves. A copy that fails leaves no file. */
export type CopyDatabase = (from: string, to: string, signal?: AbortSignal) => Promise<DatabaseCopy>;

export interface CopyOptions {
  /** Ends the copy between two pieces; its reason is the error. */
  readonly signal?: AbortSignal | undefined;
  /** The program of the thread; default: the built one. */
  readonly program?: URL;
}

/**
 * `CopyDatabase` with options. The copy is the state of one moment, whatever is committed meanwhile; the write-ahead log
 * keeps growing until it ends. Errors: `store.*`; the reason of the signal.
 */
export function copyDatabase(
  from: string,
  to: string,
  { signal, program = new URL("./copy-worker.js", import.meta.url) }: CopyOptions = {},
): Promise<DatabaseCopy> {
  const cancelled = new Int32Array(new SharedArrayBuffer(4));
  const cancel = (): void => {
    Atomics.store(cancelled, 0, 1);
    Atomics.notify(cancelled, 0);
  };
  if (signal?.aborted) return Promise.reject(signal.reason as Error);
  const task: CopyTask = { from, to, cancelled };
  const worker = new Worker(program, { workerData: task });
  signal?.addEventListener("abort", cancel);
  return new Promise<DatabaseCopy>((resolve, reject) => {
    let answer: CopyAnswer = {
      ok: false,
      code: "store.io",
      detail: `${from}: the copy ended without a result`,
    };
    worker.once("message", (message: CopyAnswer) => {
      answer = message;
    });
    worker.once("error", (error) => {
      answer = { ok: false, code: "store.io", detail: errorText(error) };
    });
    // not before its end: until then it may have the file open
    worker.once("exit", () => {
      if (answer.ok) resolve({ bytes: answer.bytes });
      else if (signal?.aborted) reject(signal.reason as Error);
      else reject(new MailreportError(answer.code, { detail: answer.detail }));
    });
  }).finally(() => signal?.removeEventListener("abort", cancel));
}
