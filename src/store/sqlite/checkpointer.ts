/**
 * Copies the write-ahead log of a database into it, in a thread of its own: a checkpoint of some thousand pages takes
 * hundreds of milliseconds on a slow disk, for which the writer would wait. The writer's own checkpoint, at a longer log,
 * finds little left to do then, and lets the log begin anew.
 */
import { Worker } from "node:worker_threads";
import { type ErrorCode, errorText, MailreportError } from "../../lib/errors.ts";

/** Shortest time between two checkpoints while there are commits. */
const EVERY_MS = 2000;

export type CheckpointAnswer =
  | { readonly ok: true }
  | { readonly ok: false; readonly code: ErrorCode; readonly detail: string };

export interface Checkpointer {
  /** A transaction was committed: begins a checkpoint when the last one was long ago. */
  committed(): void;
  /** A checkpoint that begins now, or when the present one has ended. Errors: `store.*`. */
  run(): Promise<void>;
  /** Resolves when the thread has ended. */
  close(): Promise<void>;
}

export interface CheckpointerOptions {
  /** Milliseconds, monotonic. */
  readonly elapsed: () => number;
  /** The program of the thread; default: the built one. */
  readonly program?: URL;
}

/** A checkpointer for the database at `path`. Its thread starts with the first checkpoint. */
export function makeCheckpointer(
  path: string,
  { elapsed, program = new URL("./checkpoint-worker.js", import.meta.url) }: CheckpointerOptions,
): Checkpointer {
  let worker: Worker | undefined;
  let current: Promise<void> | undefined;
  let last = elapsed();

  function start(): Worker {
    const started = new Worker(program, { workerData: { path } });
    started.unref();
    started.once("exit", () => {
      if (worker === started) worker = undefined;
    });
    return started;
  }

  function ask(): Promise<void> {
    worker ??= start();
    const asked = worker;
    return new Promise<void>((resolve, reject) => {
      const failed = (code: ErrorCode, detail: string): void => reject(new MailreportError(code, { detail }));
      const answered = (answer: CheckpointAnswer): void => {
        done();
        if (answer.ok) resolve();
        else failed(answer.code, answer.detail);
      };
      const broken = (error: unknown): void => {
        done();
        failed("store.io", errorText(error));
      };
      const ended = (): void => broken("the checkpoint thread ended");
      const done = (): void => {
        asked.off("message", answered).off("error", broken).off("exit", ended);
        asked.unref();
      };
      asked.on("message", answered).on("error", broken).on("exit", ended);
      asked.ref();
      asked.postMessage("checkpoint");
    });
  }

  function begin(): Promise<void> {
    const run = ask().finally(() => {
      last = elapsed();
      if (current === run) current = undefined;
    });
    current = run;
    return run;
  }

  return {
    committed() {
      if (current !== undefined || elapsed() - last < EVERY_MS) return;
      begin().catch(() => undefined); // `run` meets the error too, and tells it
    },
    async run() {
      await current?.catch(() => undefined);
      await begin();
    },
    async close() {
      await current?.catch(() => undefined);
      await worker?.terminate();
    },
  };
}
