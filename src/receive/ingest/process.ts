/** One life of the ingest process: requests with answers, and a watch that it does not hang. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Clock, Timer } from "../../lib/clock.ts";
import { MailreportError } from "../../lib/errors.ts";
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
}

/** An error of the process; the stack of a bug is that of its cause. */
export function errorOf({ code, detail, stack }: WireError): MailreportError {
  if (stack === undefined) return new MailreportError(code, { detail });
  return new MailreportError(code, { detail, cause: Object.assign(new Error(detail), { stack }) });
}

export interface IngestProcess {
  readonly pid: number;
  /**
   * Requests are answered in any order. While there are some, or spooled mail is being parsed, the process has to send
   * something from time to time, or it counts as hung and is killed.
   * @param limitMs how long it may be silent while it works on this request; default: `silenceMs` of the options
   * Errors: MailreportError as the process says; IngestDied.
   */
  ask<T>(request: Request, body?: readonly Uint8Array[], limitMs?: number): Promise<T>;
  /** Ends the process without a further answer. */
  kill(why: "timeout" | "died"): void;
  readonly ended: Promise<IngestDied>;
}

export interface IngestProcessOptions {
  readonly clock: Clock;
  /** JavaScript heap, bytes. */
  readonly memory: number;
  /** How long a process that works may be silent: longer than any mail is parsed. */
  readonly silenceMs: () => number;
  readonly onNotice: (notice: Notice) => void;
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
  const { clock, memory, silenceMs, onNotice, onError, onEnded, program } = options;
  const path = program ?? fileURLToPath(new URL("./child.js", import.meta.url));
  const heap = `--max-old-space-size=${Math.max(32, Math.floor(memory / 1048576))}`;
  const child: ChildProcess = spawn(process.execPath, [heap, ...SMALL, path], {
    env: {},
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  child.once("error", () => end(null, null)); // it could not be started
  const pipe = child.stdio[3] as Duplex | undefined;
  if (!pipe) throw new MailreportError("ingest.unavailable", { detail: "no process can be started" });
  const pending = new Map<number, Pending>();
  /** Limits of the pending requests that have one of their own. */
  const ownLimits = new Map<number, number>();
  let watch: Timer | undefined;
  /** When it sent something, or was given something to do while it had nothing, by the monotonic clock. */
  let lastSign = 0;
  let isCorked = false;
  let last = 0;
  let why: IngestDied["why"] = "died";
  let gone: IngestDied | undefined;
  let parsingSpool = false;
  let isMigrating = false;
  let resolveEnded: (died: IngestDied) => void;
  const ended = new Promise<IngestDied>((resolve) => {
    resolveEnded = resolve;
  });
  child.once("exit", end);
  pipe.on("error", () => child.kill("SIGKILL"));
  const takeIn = frameReader(({ header }) => {
    lastSign = clock.monotonic();
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
    gone = new IngestDied(why === "died" && isOutOfMemory(code, signal) ? "oom" : why, workNow());
    watch?.cancel();
    onEnded(gone);
    for (const { reject } of pending.values()) reject(gone);
    pending.clear();
    resolveEnded(gone);
  }

  /** Spooled mail may be the reason of a death as well as what came meanwhile: then nobody knows. */
  function workNow(): Work {
    if (parsingSpool) return "spool";
    const ops = [...pending.values()].map(({ op }) => op);
    return ops.includes("intake") ? "intake" : (ops[0] ?? null);
  }

  function noticed(notice: Notice): void {
    if (notice.notice === "migrating") isMigrating = true;
    if (notice.notice === "parsing") {
      parsingSpool = notice.busy;
      watchOver();
    }
    onNotice(notice);
  }

  function answered(reply: Reply): void {
    const question = pending.get(reply.id);
    pending.delete(reply.id);
    ownLimits.delete(reply.id);
    isMigrating = false;
    if (!isWorking()) {
      watch?.cancel();
      watch = undefined;
    }
    if (reply.ok) question?.resolve(reply.value as never);
    else question?.reject(errorOf(reply));
  }

  function isWorking(): boolean {
    return pending.size > 0 || parsingSpool;
  }

  /** The longest silence that all its work allows. */
  function limit(): number {
    return Math.max(silenceMs(), ...ownLimits.values());
  }

  /** Begins to watch, unless it is watched already. */
  function watchOver(): void {
    if (watch || !isWorking()) return;
    lastSign = clock.monotonic();
    look();
  }

  /** Kills a process that was silent for too long; otherwise looks again when it will have been. */
  function look(): void {
    watch = undefined;
    if (!isWorking()) return;
    const left = lastSign + limit() - clock.monotonic();
    if (left <= 0 && !isMigrating)
      kill("timeout"); // a migration takes as long as it takes
    else watch = clock.after(left > 0 ? left : limit(), look);
  }

  function kill(reason: "timeout" | "died"): void {
    why = reason;
    child.kill("SIGKILL");
  }

  return {
    pid: child.pid ?? 0,
    ended,
    kill,
    ask<T>(request: Request, body: readonly Uint8Array[] = [], limitMs?: number): Promise<T> {
      if (gone) return Promise.reject(gone);
      const id = ++last;
      return new Promise<T>((resolve, reject) => {
        const { op } = request;
        pending.set(id, { op, resolve: resolve as (value: never) => void, reject });
        if (limitMs !== undefined) ownLimits.set(id, limitMs);
        watchOver();
        sendTogether();
        writeFrame(pipe, { id, ...request }, body);
      });
    },
  };

  /** What is asked in one turn of the event loop is written at its end. */
  function sendTogether(): void {
    if (isCorked) return;
    isCorked = true;
    pipe?.cork();
    process.nextTick(() => {
      isCorked = false;
      pipe?.uncork();
    });
  }
}
