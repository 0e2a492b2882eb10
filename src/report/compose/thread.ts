/**
 * Composes reports in a thread of its own, so that a report of 100,000 rows keeps nobody waiting. The thread is
 * started with the first job and ended when there was none for a while. When it dies, the job that it had fails and
 * the next job gets a new thread. An answer belongs to a job when it has its number and comes from its thread: reports
 * of one domain must never reach the addresses of another.
 */
import { Worker } from "node:worker_threads";
import type { Clock, Timer } from "../../lib/clock.ts";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { Composed, ComposeJob, Composer } from "./job.ts";
import type { Answer, Request, Task } from "./protocol.ts";

/** A thread without work is ended after this. */
const IDLE_MS = 30_000;
/** A job that takes longer hangs: the thread is ended. A million rows take half a minute. */
const LONGEST_JOB_MS = 900_000;
/** JavaScript heap of the thread, MiB. A job that needs more fails, alone. */
const HEAP_MIB = 1024;

export interface ComposeThreadOptions {
  /** queue.db. */
  readonly path: string;
  readonly clock: Clock;
  /** The program of the thread; default: beside this file. */
  readonly program?: URL;
}

interface Job {
  readonly request: Request;
  readonly resolve: (composed: Composed | null) => void;
  readonly reject: (error: MailreportError) => void;
}

export class ComposeThread implements Composer {
  readonly #options: ComposeThreadOptions;
  readonly #waiting: Job[] = [];
  #current: Job | undefined;
  #requests = 0;
  #worker: Worker | undefined;
  /** Ends a thread that is idle, or that works on one job for too long. */
  #watch: Timer | undefined;
  /** Resolves when the threads that were told to end have ended. */
  #ended: Promise<unknown> = Promise.resolve();
  #stopping = false;

  constructor(options: ComposeThreadOptions) {
    this.#options = options;
  }

  /** Whether there is a thread now. */
  get running(): boolean {
    return this.#worker !== undefined;
  }

  async compose(job: ComposeJob): Promise<Composed> {
    const composed = await this.#ask({ ask: "compose", job });
    if (composed?.outgoingId === job.outgoingId) return composed;
    const detail = `${job.outgoingId} was answered with ${composed?.outgoingId ?? "nothing"}`;
    throw new MailreportError("daemon.bug", { detail });
  }

  async checkpoint(): Promise<void> {
    await this.#ask({ ask: "checkpoint" });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new MailreportError("daemon.stopping"));
    await this.#end(new MailreportError("daemon.stopping"));
  }

  #ask(task: Task): Promise<Composed | null> {
    if (this.#stopping) return Promise.reject(new MailreportError("daemon.stopping"));
    const request = { ...task, no: ++this.#requests };
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      this.#next();
    });
  }

  #next(): void {
    if (this.#current) return;
    this.#watch?.cancel();
    this.#watch = undefined;
    const job = this.#waiting.shift();
    if (!job) {
      if (this.#worker) this.#watchFor(IDLE_MS, undefined);
      return;
    }
    this.#current = job;
    try {
      this.#worker ??= this.#start();
      this.#worker.postMessage(job.request);
      this.#watchFor(
        LONGEST_JOB_MS,
        new MailreportError("compose.died", { detail: "a report took too long" }),
      );
    } catch (error) {
      this.#settle(job, ({ reject }) =>
        reject(new MailreportError("compose.died", { detail: errorText(error), cause: error })),
      );
    }
  }

  #watchFor(ms: number, error: MailreportError | undefined): void {
    this.#watch = this.#options.clock.after(ms, () => void this.#end(error));
  }

  #start(): Worker {
    const { path, program = new URL("./worker.js", import.meta.url) } = this.#options;
    const worker = new Worker(program, {
      workerData: { path },
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
    });
    let cause: unknown;
    worker.on("message", (answer: Answer) => this.#answered(worker, answer));
    worker.on("messageerror", (error) => {
      cause = error;
      void worker.terminate();
    });
    worker.on("error", (error) => {
      cause = error;
    });
    worker.on("exit", (code) => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      const detail = cause === undefined ? `exit ${code}` : errorText(cause);
      this.#settle(this.#current, ({ reject }) =>
        reject(new MailreportError("compose.died", { detail, cause })),
      );
    });
    return worker;
  }

  /** An answer of a thread that is being ended, or to another request, is ignored. */
  #answered(worker: Worker, answer: Answer): void {
    const job = this.#current;
    if (worker !== this.#worker || answer.no !== job?.request.no) return;
    this.#settle(job, ({ resolve, reject }) => {
      if (answer.ok) resolve(answer.composed);
      else reject(errorOf(answer));
    });
  }

  /** The current job is done, one way or the other; the next one begins. A job that is not current any more is done. */
  #settle(job: Job | undefined, tell: (job: Job) => void): void {
    if (job !== this.#current) return;
    this.#current = undefined;
    if (job) tell(job);
    this.#next();
  }

  /** Ends the thread; the job that it has fails with `error`, no other one. */
  async #end(error: MailreportError | undefined): Promise<void> {
    const worker = this.#worker;
    const job = this.#current;
    this.#worker = undefined;
    this.#watch?.cancel();
    this.#watch = undefined;
    this.#ended = Promise.all([this.#ended, worker?.terminate()]);
    await this.#ended;
    if (error && job) this.#settle(job, ({ reject }) => reject(error));
    else this.#next();
  }
}

/** The error that the thread met, with its stack. */
function errorOf({ code, detail, temporary, stack }: Extract<Answer, { ok: false }>): MailreportError {
  const cause = new Error(detail ?? "");
  if (stack !== undefined) cause.stack = stack;
  return new MailreportError(code ?? "daemon.bug", {
    ...(detail === undefined ? {} : { detail }),
    temporary,
    cause,
  });
}
