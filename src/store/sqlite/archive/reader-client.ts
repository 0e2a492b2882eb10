/**
 * The main thread's side of the reader worker: an ArchiveReader that asks the thread for every answer. When a worker dies,
 * its open questions fail, and the next question starts another one.
 */
import { Worker } from "node:worker_threads";
import { type ErrorCode, MailreportError } from "../../../lib/errors.ts";
import type { ArchiveReader } from "../../archive/reader.ts";

export interface ReaderQuestion {
  readonly id: number;
  readonly method: keyof ArchiveReader;
  readonly args: readonly unknown[];
}

export type ReaderAnswer =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | {
      readonly id: number;
      readonly ok: false;
      readonly code: ErrorCode;
      readonly detail: string | undefined;
    };

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: MailreportError) => void;
}

/**
 * Starts the worker over the archive at `path`.
 * @param ready questions wait for this; undefined when there is nothing to wait for
 */
export function startArchiveReader(
  path: string,
  onDeath: (error: unknown) => void,
  ready: () => Promise<unknown> | undefined = () => undefined,
): ArchiveReader {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let last = 0;
  let closing = false;

  function failAll(detail: string): void {
    for (const { reject } of waiting.values())
      reject(new MailreportError("store.io", { detail, temporary: true }));
    waiting.clear();
  }

  function start(): Worker {
    const started = new Worker(new URL("./reader-worker.js", import.meta.url), { workerData: { path } });
    started.on("message", (answer: ReaderAnswer) => {
      const question = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (answer.ok) question?.resolve(answer.value as never);
      else {
        question?.reject(
          new MailreportError(answer.code, answer.detail === undefined ? {} : { detail: answer.detail }),
        );
      }
    });
    started.on("error", onDeath);
    started.on("exit", () => {
      if (worker === started) worker = undefined;
      if (!closing) failAll("the reader of the archive ended");
    });
    return started;
  }

  async function ask<T>(method: keyof ArchiveReader, args: readonly unknown[]): Promise<T> {
    await ready();
    return post(method, args);
  }

  function post<T>(method: keyof ArchiveReader, args: readonly unknown[]): Promise<T> {
    if (closing) return Promise.reject(new MailreportError("daemon.stopping"));
    worker ??= start();
    const id = ++last;
    return new Promise<T>((resolve, reject) => {
      waiting.set(id, { resolve: resolve as (value: never) => void, reject });
      worker!.postMessage({ id, method, args } satisfies ReaderQuestion);
    });
  }

  worker = start();
  return {
    list: (...args) => ask("list", args),
    receivedMail: (...args) => ask("receivedMail", args),
    rawMail: (...args) => ask("rawMail", args),
    report: (...args) => ask("report", args),
    tlsPolicies: (...args) => ask("tlsPolicies", args),
    stats: () => ask("stats", []),
    expirable: (...args) => ask("expirable", args),
    size: () => ask("size", []),
    async close() {
      if (closing) return;
      if (worker) await post("close", []);
      closing = true;
      await worker?.terminate();
    },
  };
}
