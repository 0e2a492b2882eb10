/**
 * The parser threads of the ingest process. A thread that runs out of memory, ends or hangs is replaced; the mails that it had
 * are parsed again, each alone in its thread, and the one with which a thread ends again is unparsable. No other mail is
 * affected. An error in native code ends the whole process; that is handled by the supervisor and by the counted attempts of
 * spooled mail, which both rely on mails that are parsed alone.
 */
import { Worker } from "node:worker_threads";
import type { IngestLimits } from "../../config/schema.ts";
import { SMALL_MAIL } from "../../format/mail/stage.ts";
import type { Reason } from "../../model/outcome.ts";
import type { ReadHints } from "../../model/reading.ts";
import type { StagedMail } from "../../model/staged.ts";
import type { Unparsable } from "../../store/archive/intake.ts";
import type { ParseAnswer, ParserMessage, ParseTask } from "./parser-protocol.ts";

/** One for large mails and one that always serves small ones; more would compete with the thread that commits. */
const THREADS = 2;
/** Mails of one task: some milliseconds, against some 0.1 ms for the two messages. */
const TASK_MAILS = 8;
const TASK_BYTES = 262_144;
/** On top of `limits.read_timeout`, by which a parser stops itself. */
const GRACE_MS = 2000;
/** A mail with which threads ended this often, the last time alone, is not tried again. */
const MOST_DEATHS = 2;
/** Of the tasks that begin while both wait, every fourth is spooled mail: new mail is not to keep it waiting for ever. */
const SPOOLED_TURN = 4;
const MIB = 1 << 20;
/** How long a thread may take to load its program. */
const START_LIMIT_MS = 60_000;
/** Heap for short-lived objects, MiB; a small one keeps the process small. */
const YOUNG_MIB = 24;

export interface ParseOptions {
  /** Spooled mail and mail that is parsed again wait for new mail. */
  readonly spooled: boolean;
  /** Nothing else is parsed beside it. */
  readonly alone: boolean;
}

interface Job extends ParseOptions {
  readonly raw: Uint8Array;
  readonly hints: ReadHints;
  /** More than little work. */
  large: boolean;
  /** Threads that ended while they had it. */
  deaths: number;
  readonly resolve: (result: StagedMail | Unparsable) => void;
}

interface Thread {
  readonly worker: Worker;
  jobs: readonly Job[];
  watch: NodeJS.Timeout | undefined;
  /** Its program has been loaded. */
  isReady: boolean;
  /** It was ended because it did not start or did not answer. */
  hangs: boolean;
}

export interface ParsersOptions {
  readonly limits: IngestLimits;
  /** The program of a thread; default: beside this file. */
  readonly program?: URL;
  /** No thread can be started, or one ends before it is ready: nothing can be parsed. */
  readonly onBroken: (error: unknown) => void;
  /** A thread has become ready. */
  readonly onReady?: () => void;
}

/** All threads for one spooled mail that may have ended the process. */
interface Reservation {
  /** It waits until nothing is parsed. */
  isGranted: boolean;
  readonly grant: () => void;
}

export class Parsers {
  readonly #options: ParsersOptions;
  #limits: IngestLimits;
  #threads: readonly Thread[];
  readonly #new: Job[] = [];
  readonly #spooled: Job[] = [];
  #reservation: Reservation | undefined;
  #begun = 0;
  #closed = false;

  constructor(options: ParsersOptions) {
    this.#options = options;
    this.#limits = options.limits;
    this.#threads = Array.from({ length: THREADS }, () => this.#start());
  }

  /** Applies to mails that are begun from now on. */
  configure(limits: IngestLimits): void {
    this.#limits = limits;
  }

  /** A mail is parsed alone, or waits for that: nothing may be parsed elsewhere. */
  get isReserved(): boolean {
    if (this.#reservation) return true;
    const jobs = [...this.#new, ...this.#spooled, ...this.#threads.flatMap((thread) => thread.jobs)];
    return jobs.some(({ alone }) => alone);
  }

  /** A thread has loaded its program: what is given to `parse` begins. */
  get isReady(): boolean {
    return this.#threads.some((thread) => thread.isReady);
  }

  /**
   * Resolves when nothing is parsed and a thread is ready. From the call until `release` nothing begins but, once this has
   * resolved, a spooled mail that is parsed alone. One reservation at a time.
   */
  reserve(): Promise<void> {
    return new Promise((grant) => {
      this.#reservation = { isGranted: false, grant };
      this.#assign();
    });
  }

  /** Ends the reservation, if there is one. */
  release(): void {
    if (!this.#reservation) return;
    this.#reservation = undefined;
    this.#assign();
  }

  /** Never rejects: a mail that cannot be parsed has its reason. */
  parse(raw: Uint8Array, hints: ReadHints, options: ParseOptions): Promise<StagedMail | Unparsable> {
    return new Promise((resolve) => {
      const large = raw.byteLength > SMALL_MAIL;
      (options.spooled ? this.#spooled : this.#new).push({
        ...options,
        raw,
        hints,
        large,
        deaths: 0,
        resolve,
      });
      this.#assign();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { watch } of this.#threads) clearTimeout(watch);
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  #start(): Thread {
    const program = this.#options.program ?? new URL("./parser-thread.js", import.meta.url);
    const maxOldGenerationSizeMb = Math.max(32, Math.floor(this.#limits.ingest_memory / MIB));
    const resourceLimits = { maxOldGenerationSizeMb, maxYoungGenerationSizeMb: YOUNG_MIB };
    const thread: Thread = {
      worker: new Worker(program, { env: {}, resourceLimits }),
      jobs: [],
      watch: undefined,
      isReady: false,
      hangs: false,
    };
    let why: Reason = "internal";
    let detail = "the parser thread ended";
    thread.worker.on("message", (message: ParserMessage) => {
      if (message === "ready") this.#started(thread);
      else this.#answered(thread, message);
    });
    this.#endAfter(thread, START_LIMIT_MS);
    thread.worker.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ERR_WORKER_OUT_OF_MEMORY") why = "oom";
      detail = `the parser thread ended: ${error.message}`;
    });
    thread.worker.once("exit", () => {
      if (thread.hangs) [why, detail] = ["timeout", "the parser thread did not answer"];
      this.#ended(thread, why, detail);
    });
    return thread;
  }

  #started(thread: Thread): void {
    clearTimeout(thread.watch);
    thread.isReady = true;
    this.#assign();
    this.#options.onReady?.();
  }

  #answered(thread: Thread, answer: ParseAnswer): void {
    clearTimeout(thread.watch);
    const { jobs } = thread;
    thread.jobs = [];
    for (const [i, job] of jobs.entries()) {
      const result = answer[i] ?? null;
      if (result) job.resolve(result);
      else {
        job.large = true;
        (job.spooled ? this.#spooled : this.#new).unshift(job);
      }
    }
    this.#assign();
  }

  #ended(thread: Thread, reason: Reason, detail: string): void {
    clearTimeout(thread.watch);
    if (this.#closed) return;
    if (!thread.isReady) {
      this.#options.onBroken(new Error(detail));
      return;
    }
    const { jobs } = thread;
    this.#threads = this.#threads.map((one) => (one === thread ? this.#start() : one));
    for (const job of [...jobs].reverse()) {
      job.deaths++;
      if (jobs.length === 1 && job.deaths >= MOST_DEATHS) job.resolve({ reason, detail });
      else (job.spooled ? this.#spooled : this.#new).unshift(job);
    }
    this.#assign();
  }

  /**
   * Gives each idle thread its next task. A thread that is not ready gets none: what ends the process meanwhile is no fault
   * of a mail.
   */
  #assign(): void {
    this.#grant();
    for (const thread of this.#threads) {
      if (!thread.isReady || thread.jobs.length > 0) continue;
      const jobs = this.#take();
      if (jobs.length > 0) this.#begin(thread, jobs);
    }
  }

  #grant(): void {
    const reservation = this.#reservation;
    if (!reservation || reservation.isGranted || !this.isReady) return;
    const isBusy = this.#threads.some(({ jobs }) => jobs.length > 0);
    if (isBusy || this.#new[0]?.alone) return;
    reservation.isGranted = true;
    reservation.grant();
  }

  /** The mails of the next task, taken from the queue whose turn it is; empty: none may begin now. */
  #take(): Job[] {
    const running = this.#threads.flatMap((thread) => thread.jobs);
    if (running.some(({ alone }) => alone)) return [];
    const spooledFirst = this.#begun % SPOOLED_TURN === SPOOLED_TURN - 1;
    const queues = spooledFirst ? [this.#spooled, this.#new] : [this.#new, this.#spooled];
    // a mail to be parsed alone begins when all others have ended; until then none begins
    const reserved = this.#reservation;
    const waiting = (reserved?.isGranted ? [this.#spooled] : queues).find(([first]) => first?.alone);
    if (waiting) return running.length === 0 ? waiting.splice(0, 1) : [];
    if (reserved) return [];
    const roomForLarge = running.filter(({ large }) => large).length < THREADS - 1;
    for (const queue of queues) {
      const task = takeTask(queue, roomForLarge, Math.ceil(queue.length / THREADS));
      if (task.length > 0) return task;
    }
    return [];
  }

  #begin(thread: Thread, jobs: readonly Job[]): void {
    this.#begun++;
    thread.jobs = jobs;
    const mails = jobs.map(({ raw, hints }) => ({ raw: new Uint8Array(raw), hints }));
    const small = jobs.every(({ large }) => !large);
    const task: ParseTask = { limits: this.#limits, mails, small };
    thread.worker.postMessage(
      task,
      mails.map(({ raw }) => raw.buffer),
    );
    this.#endAfter(thread, this.#limits.read_timeout + GRACE_MS);
  }

  #endAfter(thread: Thread, limitMs: number): void {
    thread.watch = setTimeout(() => {
      thread.hangs = true;
      void thread.worker.terminate();
    }, limitMs);
  }
}

/**
 * Takes one large mail, one with which a thread ended, or several small ones, from the begin of a queue up to a mail that is to
 * be parsed alone; large ones are left out when there is no room for them.
 * @param share small mails at most, so that each thread has some
 */
function takeTask(queue: Job[], roomForLarge: boolean, share: number): Job[] {
  const task: Job[] = [];
  let bytes = 0;
  for (let at = 0; at < queue.length && task.length < Math.min(share, TASK_MAILS); ) {
    const job = queue[at]!;
    if (job.alone) break;
    if (job.large && !roomForLarge) {
      at++;
      continue;
    }
    const single = job.large || job.deaths > 0;
    if (single && task.length > 0) break;
    bytes += job.raw.byteLength;
    if (task.length > 0 && bytes > TASK_BYTES) break;
    task.push(job);
    queue.splice(at, 1);
    if (single) break;
  }
  return task;
}
