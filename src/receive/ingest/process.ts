/** One life of the ingest process: requests with answers, and a watch on each. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Clock, Timer } from "../../lib/clock.ts";
import { MailreportError } from "../../lib/errors.ts";
import type { SpoolState } from "../../store/archive/intake.ts";
import { frameReader, writeFrame } from "./frames.ts";
import type { Notice, Reply, Request, WireError } from "./protocol.ts";

/** What the process worked on: a request, or spooled mail; null: nothing. */
export type Work = Request["op"] | "spool" | null;

/** The process ended, or was ended, before it answered. */
export class IngestDied extends Error {
  readonly why: "timeout" | "oom" | "died";
  readonly during: Work;

  constructor(why: IngestDied["why"], during: Work) {
    super(`the ingest process ended: ${why}`);
    this.name = "IngestDied";
    this.why = why;
    this.during = during;
  }
}

interface Pending {
  readonly op: Request["op"];
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly limitMs: number | undefined;
}

/** An error of the process; the stack of a bug is that of its cause. */
export function errorOf({ code, detail, stack }: WireError): MailreportError {
  if (stack === undefined) return new MailreportError(code, { detail });
  return new MailreportError(code, { detail, cause: Object.assign(new Error(detail), { stack }) });
}

export interface IngestProcess {
  readonly pid: number;
  /**
   * Requests are answered in their order.
   * @param limitMs how long the process may work on it: when no answer has come by then, the process is killed
   * Errors: MailreportError as the process says; IngestDied.
   */
  ask<T>(request: Request, body: readonly Uint8Array[], limitMs: number | undefined): Promise<T>;
  /** Ends the process without a further answer. */
  kill(why: "timeout" | "died"): void;
  readonly ended: Promise<IngestDied>;
}

export interface IngestProcessOptions {
  readonly clock: Clock;
  /** JavaScript heap, bytes. */
  readonly memory: number;
  readonly onNotice: (notice: Notice) => void;
  /** What an answer says of the spool; called before the answer is handed over. */
  readonly onSpool: (spool: SpoolState) => void;
  /** A message could not be understood or handled; the process is ended. */
  readonly onError: (error: unknown) => void;
  /** It has ended; called before its open requests are rejected. */
  readonly onEnded: (died: IngestDied) => void;
  /** The program; default: beside this file. */
  readonly program?: string;
}

/** A small young generation, and collections after large mails, which the process asks for: it stays small. */
const SMALL = ["--max-semi-space-size=8", "--expose-gc"];

/** Signals and codes with which V8 ends a process that is out of memory. */
function isOutOfMemory(code: number | null, signal: NodeJS.Signals | null): boolean {
  return signal === "SIGABRT" || code === 134 || code === 5;
}

/** Starts a process. Errors: `ingest.unavailable`. */
export function spawnIngest(options: IngestProcessOptions): IngestProcess {
  const { clock, memory, onNotice, onSpool, onError, onEnded, program } = options;
  const path = program ?? fileURLToPath(new URL("./child.js", import.meta.url));
  const heap = `--max-old-space-size=${Math.max(32, Math.floor(memory / 1048576))}`;
  const child: ChildProcess = spawn(process.execPath, [heap, ...SMALL, path], {
    env: {},
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  child.once("error", () => end(null, null)); // it could not be started
  const pipe = child.stdio[3] as Duplex | undefined;
  if (!pipe) throw new MailreportError("ingest.unavailable", { detail: "no process can be started" });
  /** In the order of asking: the first one is being worked on, and watched. */
  const pending = new Map<number, Pending>();
  let watch: Timer | undefined;
  let last = 0;
  let why: IngestDied["why"] = "died";
  let gone: IngestDied | undefined;
  let parsingSpool = false;
  let resolveEnded: (died: IngestDied) => void;
  const ended = new Promise<IngestDied>((resolve) => {
    resolveEnded = resolve;
  });
  child.once("exit", end);
  pipe.on("error", () => child.kill("SIGKILL"));
  const takeIn = frameReader(({ header }) => {
    const message = header as Reply | Notice;
    if ("notice" in message) noticed(message);
    else answered(message);
  });
  pipe.on("data", (chunk: Buffer) => {
    try {
      takeIn(chunk);
    } catch (error) {
      onError(error); // what comes behind it cannot be understood
      kill("died");
    }
  });

  function end(code: number | null, signal: NodeJS.Signals | null): void {
    if (gone) return;
    const during = parsingSpool ? "spool" : (first()?.op ?? null);
    gone = new IngestDied(why === "died" && isOutOfMemory(code, signal) ? "oom" : why, during);
    watch?.cancel();
    onEnded(gone);
    for (const { reject } of pending.values()) reject(gone);
    pending.clear();
    resolveEnded(gone);
  }

  function noticed(notice: Notice): void {
    if (notice.notice === "migrating") watch?.cancel(); // it takes as long as it takes
    if (notice.notice === "parsing") parsingSpool = true;
    if (notice.notice === "parsed" || notice.notice === "parse-failed") parsingSpool = false;
    onNotice(notice);
  }

  function answered(reply: Reply): void {
    const question = pending.get(reply.id);
    pending.delete(reply.id);
    watchFirst();
    if (reply.spool) onSpool(reply.spool);
    if (reply.ok) question?.resolve(reply.value as never);
    else question?.reject(errorOf(reply));
  }

  function first(): Pending | undefined {
    for (const one of pending.values()) return one;
    return undefined;
  }

  function watchFirst(): void {
    watch?.cancel();
    watch = undefined;
    const limitMs = first()?.limitMs;
    if (limitMs !== undefined) watch = clock.after(limitMs, () => kill("timeout"));
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
        const { op } = request;
        pending.set(id, { op, resolve: resolve as (value: never) => void, reject, limitMs });
        if (pending.size === 1 || !watch) watchFirst();
        writeFrame(pipe, { id, ...request }, body);
      });
    },
  };
}
