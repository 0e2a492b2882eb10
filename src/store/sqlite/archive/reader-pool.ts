/**
 * Reader threads of the archive. A question goes to a thread without work, or waits. Long questions (lists, figures,
 * sums) never take the last thread, which is kept for short ones (by id, counters): those do not wait for long ones,
 * whatever is asked. Each class has a queue of its own length, so that a flood of lists does not refuse short questions.
 *
 * A question that is cancelled, or passes its deadline, is answered at once; its thread is told to stop and takes the
 * next question when it has. A thread that does not notice (SQLite sorts, or reads from a slow disk) is replaced, and
 * ends when it comes back.
 */
import type { Clock, Timer } from "../../../lib/clock.ts";
import { errorText, MailreportError } from "../../../lib/errors.ts";
import type { Asker } from "../../archive/reader.ts";
import { type Cost, errorOf, QUESTIONS, type QuestionName, type ReaderAnswer } from "./reader-protocol.ts";
import { ReaderThread } from "./reader-thread.ts";

/** Threads, each with a connection and a page cache of its own. */
export const READER_THREADS = 2;
/** Questions of each class that wait for a thread; further ones are refused. */
export const MOST_WAITING = 100;
/** A question takes no longer, waiting included, unless its asker names another time. */
export const DEADLINE_MS = 30_000;
/** A thread that goes on with a cancelled question for longer than this is replaced. */
export const PATIENCE_MS = 5_000;
/** Replaced threads that have not ended yet. With that many, a thread that hangs is not replaced. */
export const MOST_REPLACED = 2;
/** Longest wait, on closing, for threads to end. */
const CLOSE_MS = 5_000;
/** Numbers of questions are those of an Int32. */
const LAST_NO = 0x7fff_ffff;

export interface ReaderPoolOptions {
  /** archive.db */
  readonly path: string;
  readonly clock: Clock;
  /** Receives what ended a thread, and that a thread was replaced. */
  readonly onProblem: (error: unknown) => void;
  /** Receives the error of the first refused question of an overload, which lasts until none waits and no thread hangs. */
  readonly onOverload?: (error: MailreportError) => void;
  readonly threads?: number;
  /** The program of the threads; default: beside this file. */
  readonly program?: URL;
}

interface Question {
  readonly no: number;
  readonly name: QuestionName;
  readonly args: readonly unknown[];
  readonly cost: Cost;
  /** Gives the asker its answer, the first time that it is called. */
  settle(error: MailreportError | undefined, value?: unknown): void;
}

/** The place of one thread. */
interface Slot {
  /** Kept for short questions. */
  readonly reserved: boolean;
  thread: ReaderThread | undefined;
  /** What the thread works on; its asker may have been answered already. */
  question: Question | undefined;
  /** Runs from the time when that question was cancelled. */
  patience: Timer | undefined;
  /** The thread should be replaced, and there are too many replaced ones. */
  hangs: boolean;
}

export class ReaderPool {
  readonly #options: ReaderPoolOptions;
  readonly #slots: Slot[];
  readonly #waiting: Question[] = [];
  readonly #replaced = new Set<ReaderThread>();
  /** Threads that have not ended. */
  readonly #threads = new Set<ReaderThread>();
  #last = 0;
  /** A question was refused, and the overload has not ended since. */
  #isOverloaded = false;
  #closed: Promise<void> | undefined;
  #onEnd: () => void = () => undefined;
  readonly #count = { asked: 0, cancelled: 0, deadline: 0, refused: 0 };

  constructor(options: ReaderPoolOptions) {
    this.#options = options;
    const { threads = READER_THREADS } = options;
    this.#slots = Array.from({ length: threads }, (_, i) => ({
      reserved: threads > 1 && i === threads - 1,
      thread: undefined,
      question: undefined,
      patience: undefined,
      hangs: false,
    }));
    for (const slot of this.#slots) slot.thread = this.#start(slot);
  }

  /** Counters for `show stats`. */
  counters(): Record<string, number> {
    const running = this.#slots.filter(({ question }) => question).length;
    return {
      "archive.readers": this.#threads.size,
      "archive.questions": this.#count.asked,
      "archive.questions.now": running,
      "archive.questions.waiting": this.#waiting.length,
      "archive.cancelled": this.#count.cancelled,
      "archive.deadline": this.#count.deadline,
      "archive.refused": this.#count.refused,
    };
  }

  /** Asks one question. Errors: those of the method; those of ArchiveQuestions. */
  ask(name: QuestionName, args: readonly unknown[], asker: Asker): Promise<unknown> {
    if (this.#closed) return Promise.reject(new MailreportError("daemon.stopping"));
    this.#count.asked++;
    if (asker.signal?.aborted) return Promise.reject(this.#cancelled());
    const cost = QUESTIONS[name];
    const slot = this.#idle(cost);
    if (!slot && !this.#hasRoom(cost)) {
      return Promise.reject(this.#refused());
    }
    return new Promise((resolve, reject) => {
      const question = this.#question(name, args, asker, (error, value) =>
        error ? reject(error) : resolve(value),
      );
      if (slot) this.#run(slot, question);
      else this.#waiting.push(question);
    });
  }

  /**
   * Ends all threads. Questions that wait or run are answered with `daemon.stopping`; a thread that does not end within
   * five seconds is left behind.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #question(
    name: QuestionName,
    args: readonly unknown[],
    { signal, deadlineMs = DEADLINE_MS }: Asker,
    answer: (error: MailreportError | undefined, value: unknown) => void,
  ): Question {
    let settled = false;
    this.#last = (this.#last % LAST_NO) + 1;
    const question: Question = {
      no: this.#last,
      name,
      args,
      cost: QUESTIONS[name],
      settle: (error, value) => {
        if (settled) return;
        settled = true;
        deadline.cancel();
        signal?.removeEventListener("abort", onAbort);
        answer(error, value);
      },
    };
    const onAbort = (): void => this.#stop(question, this.#cancelled());
    const deadline = this.#options.clock.after(deadlineMs, () => {
      this.#count.deadline++;
      this.#stop(question, new MailreportError("archive.deadline", { detail: `${deadlineMs / 1000} s` }));
    });
    signal?.addEventListener("abort", onAbort);
    return question;
  }

  #refused(): MailreportError {
    this.#count.refused++;
    const error = new MailreportError("archive.busy");
    if (!this.#isOverloaded) this.#options.onOverload?.(error);
    this.#isOverloaded = true;
    return error;
  }

  #cancelled(): MailreportError {
    this.#count.cancelled++;
    return new MailreportError("archive.cancelled");
  }

  // ---- which thread ------------------------------------------------------------

  /** A thread without work that may take such a question; for short ones the reserved thread first. */
  #idle(cost: Cost): Slot | undefined {
    return this.#slots.findLast((slot) => !slot.question && takes(slot, cost));
  }

  /** Whether a question may wait: there is a thread that will take it, and not too many wait already. */
  #hasRoom(cost: Cost): boolean {
    if (!this.#slots.some((slot) => takes(slot, cost) && !slot.hangs)) return false;
    return this.#waiting.filter((question) => question.cost === cost).length < MOST_WAITING;
  }

  #run(slot: Slot, question: Question): void {
    slot.question = question;
    try {
      slot.thread ??= this.#start(slot);
      slot.thread.ask({ no: question.no, name: question.name, args: question.args });
    } catch (error) {
      slot.question = undefined;
      question.settle(new MailreportError("store.io", { detail: errorText(error), cause: error }));
    }
  }

  /** Gives a slot without work the question that has waited longest. */
  #next(slot: Slot): void {
    while (!slot.question) {
      const at = this.#waiting.findIndex(({ cost }) => takes(slot, cost));
      if (at < 0) return;
      const [question] = this.#waiting.splice(at, 1);
      this.#run(slot, question!);
    }
  }

  // ---- answers, cancelling, threads that end -----------------------------------

  #start(slot: Slot): ReaderThread {
    const { path, program = new URL("./reader-worker.js", import.meta.url) } = this.#options;
    const thread = new ReaderThread({
      path,
      program,
      onAnswer: (answer) => {
        if (slot.thread === thread) this.#answered(slot, answer);
      },
      onEnd: (cause) => this.#ended(slot, thread, cause),
    });
    this.#threads.add(thread);
    return thread;
  }

  #answered(slot: Slot, answer: ReaderAnswer): void {
    const { question } = slot;
    if (answer.no !== question?.no) return;
    if (answer.ok) question.settle(undefined, answer.value);
    else question.settle(errorOf(answer));
    this.#free(slot);
  }

  #free(slot: Slot): void {
    slot.patience?.cancel();
    slot.patience = undefined;
    slot.question = undefined;
    slot.hangs = false;
    if (!this.#closed) this.#next(slot);
    if (this.#waiting.length === 0 && !this.#slots.some(({ hangs }) => hangs)) this.#isOverloaded = false;
  }

  /** Answers a question with an error; one that waits never starts, the thread of one that runs is told to stop. */
  #stop(question: Question, error: MailreportError): void {
    question.settle(error);
    const at = this.#waiting.indexOf(question);
    if (at >= 0) this.#waiting.splice(at, 1);
    const slot = this.#slots.find((each) => each.question === question);
    if (!slot) return;
    slot.thread?.cancel(question.no);
    slot.patience = this.#options.clock.after(PATIENCE_MS, () => this.#replace(slot));
  }

  /** Another thread for a slot with one that does not notice that its question was cancelled. */
  #replace(slot: Slot): void {
    const { thread, question } = slot;
    if (!thread || !question) return;
    slot.hangs = this.#replaced.size >= MOST_REPLACED;
    if (slot.hangs) return;
    this.#replaced.add(thread);
    thread.close();
    slot.thread = undefined;
    const since = `${PATIENCE_MS / 1000} s after it was cancelled`;
    this.#options.onProblem(
      new Error(`a reader thread still runs "${question.name}" ${since}; another thread is started`),
    );
    this.#free(slot);
  }

  #ended(slot: Slot, thread: ReaderThread, cause: unknown): void {
    this.#threads.delete(thread);
    if (cause !== undefined) this.#options.onProblem(cause);
    if (this.#replaced.delete(thread)) {
      const hanging = this.#slots.find(({ hangs }) => hangs);
      if (hanging) this.#replace(hanging);
    }
    if (slot.thread === thread) {
      slot.thread = undefined;
      const detail = "a reader thread of the archive ended";
      slot.question?.settle(new MailreportError("store.io", { detail, temporary: true, cause }));
      this.#free(slot);
    }
    this.#onEnd();
  }

  async #close(): Promise<void> {
    const stopping = new MailreportError("daemon.stopping");
    for (const question of this.#waiting.splice(0)) question.settle(stopping);
    for (const { thread, question, patience } of this.#slots) {
      patience?.cancel();
      question?.settle(stopping);
      if (question) thread?.cancel(question.no);
      thread?.close();
    }
    await this.#allEnded();
    for (const thread of this.#threads) thread.abandon();
  }

  /** Resolves when all threads have ended, or have had the time for it. */
  async #allEnded(): Promise<void> {
    if (this.#threads.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(CLOSE_MS, resolve);
      this.#onEnd = () => {
        if (this.#threads.size > 0) return;
        timer.cancel();
        resolve();
      };
    });
  }
}

/** The reserved slot takes short questions only. */
function takes(slot: Slot, cost: Cost): boolean {
  return cost === "short" || !slot.reserved;
}
