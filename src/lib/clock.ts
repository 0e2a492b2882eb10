/**
 * Time, handed in everywhere. Only daemon.ts and the programs make the real clock; tests use a fake one.
 */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, epoch milliseconds. */
  now(): number;
  /** Monotonic milliseconds, for durations. */
  monotonic(): number;
  /** Calls `fn` once, after at least `ms` milliseconds (any size; long waits are cut into hours). */
  after(ms: number, fn: () => void): Timer;
}

/** setTimeout overflows above 2^31 ms and fires at once; and wall clocks jump. So no wait is longer than this. */
const LONGEST_WAIT_MS = 3_600_000;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fn) {
    let handle: NodeJS.Timeout;
    const until = performance.now() + Math.max(0, ms);
    const arm = (): void => {
      const left = until - performance.now();
      handle = setTimeout(
        () => (until - performance.now() > 1 ? arm() : fn()),
        Math.min(left, LONGEST_WAIT_MS),
      );
    };
    arm();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** A timer whose work failed goes on after this. */
const RETRY_MS = 60_000;

/** Epoch seconds of a clock, whole. */
export function epochSeconds(clock: Clock): number {
  return Math.floor(clock.now() / 1000);
}

/**
 * Knows the next due time of one kind of work and calls `run` when it comes. The state is in the store:
 * `nextDue` asks it, `wake` says that it may have changed, and nothing polls. At most one `run` at a time.
 * A wall clock that jumps is noticed within one hour, because no wait is longer.
 */
export class DueTimer {
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = true;
  readonly #clock: Clock;
  readonly #nextDue: () => number | undefined;
  readonly #run: () => Promise<void>;
  readonly #onError: (error: unknown) => void;

  /**
   * @param nextDue epoch milliseconds of the next work, undefined when there is none
   * @param run does all work that is due
   * @param onError receives what `nextDue` or `run` throws; the timer goes on after one minute
   */
  constructor(
    clock: Clock,
    nextDue: () => number | undefined,
    run: () => Promise<void>,
    onError: (error: unknown) => void,
  ) {
    this.#clock = clock;
    this.#nextDue = nextDue;
    this.#run = run;
    this.#onError = onError;
  }

  start(): void {
    this.#stopped = false;
    this.wake();
  }

  /** Says that work may have come or moved. */
  wake(): void {
    if (this.#stopped) return;
    if (this.#running) return; // looks again when it ends
    this.#timer?.cancel();
    this.#timer = undefined;
    const due = this.#askDue();
    if (due === undefined) return;
    this.#arm(Math.min(Math.max(0, due - this.#clock.now()), LONGEST_WAIT_MS));
  }

  /** When the store cannot answer (locked, disk full), it is asked again after a minute. */
  #askDue(): number | undefined {
    try {
      return this.#nextDue();
    } catch (error) {
      this.#onError(error);
      this.#arm(RETRY_MS);
      return undefined;
    }
  }

  #arm(ms: number): void {
    this.#timer = this.#clock.after(ms, () => {
      this.#timer = undefined;
      const due = this.#askDue();
      if (due === undefined) return;
      if (due > this.#clock.now()) {
        this.wake();
        return;
      }
      this.#running = this.#work();
    });
  }

  async #work(): Promise<void> {
    let failed = false;
    try {
      await this.#run();
    } catch (error) {
      failed = true;
      this.#onError(error);
    }
    this.#running = undefined;
    if (this.#stopped) return;
    if (failed) {
      this.#arm(RETRY_MS);
      return;
    }
    this.wake();
  }

  /** Stops; resolves when a running piece of work has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#running;
  }
}
