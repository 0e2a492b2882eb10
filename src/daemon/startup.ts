/**
 * The steps of a start that need the disk. One that fails because the disk is full or a database is locked is tried
 * again, so that the daemon stays up, answers mail with a temporary error, and goes on when space is back.
 */
import type { Clock, Timer } from "../lib/clock.ts";
import { errorText, type MailreportError } from "../lib/errors.ts";
import type { DaemonEventSink } from "../model/events.ts";
import { passes, systemError } from "./system-error.ts";

/** Must leave nothing behind when it throws: it is called again. */
export type Step = () => void | Promise<void>;

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;

export interface StartupOptions {
  readonly clock: Clock;
  readonly events: DaemonEventSink;
  /** The error that the start waits for to pass has come, changed or gone. */
  readonly onProblem: (problem: MailreportError | null) => void;
}

export class Startup {
  readonly #options: StartupOptions;
  #problem: MailreportError | null = null;
  #timer: Timer | undefined;
  #wake: (() => void) | undefined;
  #stopped = false;
  #tellWaiting!: () => void;
  /** Resolves when a step has failed for the first time with an error that passes. */
  readonly waiting: Promise<void>;

  constructor(options: StartupOptions) {
    this.#options = options;
    this.waiting = new Promise((resolve) => {
      this.#tellWaiting = resolve;
    });
  }

  /** What the start waits for; null when it does not wait. */
  get problem(): MailreportError | null {
    return this.#problem;
  }

  /**
   * Does the steps in order, each until it succeeds. True when all are done, false when `stop` was called before.
   * Errors: those that do not pass by themselves.
   */
  async run(steps: readonly Step[]): Promise<boolean> {
    let wait = FIRST_WAIT_MS;
    for (let next = 0; next < steps.length; ) {
      if (this.#stopped) return false;
      try {
        await steps[next]!();
        next++;
        wait = FIRST_WAIT_MS;
      } catch (thrown) {
        const error = systemError(thrown);
        if (!passes(error) || this.#stopped) throw error;
        this.#note(error);
        await this.#pause(wait);
        wait = Math.min(wait * 2, LONGEST_WAIT_MS);
      }
    }
    if (this.#problem) this.#note(null);
    return !this.#stopped;
  }

  /** Ends waiting; no further step begins. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#wake?.();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#timer = this.#options.clock.after(ms, resolve);
    });
  }

  /** Reports a change of state, not each try. */
  #note(problem: MailreportError | null): void {
    const { events, onProblem } = this.#options;
    const changed = problem?.code !== this.#problem?.code;
    this.#problem = problem;
    if (!changed) return;
    if (problem) {
      const fields = { what: "start", code: problem.code, error: errorText(problem) };
      events.emit("store.problem", { level: "error", ...fields });
    } else events.emit("store.available", {});
    onProblem(problem);
    if (problem) this.#tellWaiting();
  }
}
