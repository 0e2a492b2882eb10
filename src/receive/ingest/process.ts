/** One life of the ingest process: requests with answers, and a watch on each. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Clock, Timer } from "../../lib/clock.ts";
import { MailreportError } from "../../lib/errors.ts";
import { frameReader, writeFrame } from "./frames.ts";
import type { Notice, Reply, Request } from "./protocol.ts";

/** The process ended, or was ended, before it answered. */
export class IngestDied extends Error {
  readonly why: "timeout" | "oom" | "died";

  constructor(why: "timeout" | "oom" | "died") {
    super(`the ingest process ended: ${why}`);
    this.name = "IngestDied";
    this.why = why;
  }
}

interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly limitMs: number | undefined;
}

export interface IngestProcess {
  readonly pid: number;
  /**
   * Requests are answered in their order.
   * @param limitMs how long it may be worked on: when no answer has come by then, the process is killed
   * Errors: MailreportError as the process says; IngestDied.
   */
  ask<T>(request: Request, body: readonly Uint8Array[], limitMs: number | undefined): Promise<T>;
  /** Ends it without a further answer. */
  kill(why: "timeout" | "died"): void;
  readonly ended: Promise<IngestDied>;
}

export interface IngestProcessOptions {
  readonly clock: Clock;
  /** JavaScript heap, bytes. */
  readonly memory: number;
  readonly onNotice: (notice: Notice) => void;
  /** The program; default: beside this file. */
  readonly program?: string;
}

/**
 * A small young generation, and a collection after each large mail, which the process asks for: a large mail must not
 * make it large.
 */
const SMALL = ["--max-semi-space-size=8", "--expose-gc"];

/** Signals and codes with which V8 ends a process that is out of memory. */
function isOutOfMemory(code: number | null, signal: NodeJS.Signals | null): boolean {
  return signal === "SIGABRT" || code === 134 || code === 5;
}

export function spawnIngest({ clock, memory, onNotice, program }: IngestProcessOptions): IngestProcess {
  const path = program ?? fileURLToPath(new URL("./child.js", import.meta.url));
  const heap = `--max-old-space-size=${Math.max(32, Math.floor(memory / 1048576))}`;
  const child: ChildProcess = spawn(process.execPath, [heap, ...SMALL, path], {
    env: {},
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const pipe = child.stdio[3] as Duplex;
  /** In the order of asking: the first one is being worked on, and watched. */
  const pending = new Map<number, Pending>();
  let watch: Timer | undefined;
  let last = 0;
  let why: IngestDied["why"] = "died";
  let gone: IngestDied | undefined;

  const ended = new Promise<IngestDied>((resolve) => {
    const end = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (gone) return;
      gone = new IngestDied(why === "died" && isOutOfMemory(code, signal) ? "oom" : why);
      watch?.cancel();
      for (const { reject } of pending.values()) reject(gone);
      pending.clear();
      resolve(gone);
    };
    child.once("exit", end);
    child.once("error", () => end(null, null));
  });
  pipe.on("error", () => child.kill("SIGKILL"));
  pipe.on(
    "data",
    frameReader(({ header }) => {
      const message = header as Reply | Notice;
      if ("notice" in message) {
        onNotice(message);
        return;
      }
      const question = pending.get(message.id);
      pending.delete(message.id);
      watchFirst();
      if (message.ok) question?.resolve(message.value as never);
      else question?.reject(new MailreportError(message.code, { detail: message.detail }));
    }),
  );

  function watchFirst(): void {
    watch?.cancel();
    watch = undefined;
    const [first] = pending.values();
    if (first?.limitMs !== undefined) watch = clock.after(first.limitMs, () => kill("timeout"));
  }

  function kill(reason: "timeout" | "died"): void {
    why = reason;
    child.kill("SIGKILL");
  }

  return {
    pid: child.pid ?? 0,
    ended,
    kill,
    ask<T>(request: Request, body: readonly Uint8Array[], limitMs: number | undefined): Promise<T> {
      if (gone) return Promise.reject(gone);
      const id = ++last;
      return new Promise<T>((resolve, reject) => {
        pending.set(id, { resolve: resolve as (value: never) => void, reject, limitMs });
        if (pending.size === 1) watchFirst();
        writeFrame(pipe, { id, ...request }, body);
      });
    },
  };
}
