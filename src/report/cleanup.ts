/** Deletes the tallies of composed reports, and those of dropped ones after a time, in slices. */
import type { Config } from "../config/schema.ts";
import { type Clock, DueTimer, epochSeconds } from "../lib/clock.ts";
import type { Log } from "../lib/log/log.ts";
import { supervised } from "../lib/supervised.ts";
import type { QueueStore } from "../store/queue.ts";
import type { Composer } from "./compose/job.ts";
import { turn } from "./composition.ts";

/** Tallies deleted in one transaction: some milliseconds. */
const SLICE = 250;
/** Slices between two checkpoints, so that the log of the database stays small. */
const CHECKPOINT_SLICES = 6;

export interface CleanupOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly composer: Composer;
  readonly clock: Clock;
  readonly log: Log;
  readonly onError: (error: unknown) => void;
}

export class TallyCleanup {
  readonly #options: CleanupOptions;
  readonly #timer: DueTimer;
  #stopping = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: CleanupOptions) {
    this.#options = options;
    this.#timer = new DueTimer(
      options.clock,
      () => this.#nextDue(),
      () => {
        this.#running = this.#run();
        return this.#running;
      },
      options.onError,
    );
  }

  start(): void {
    const { store, log } = this.#options;
    // what was staged for a composition that the last run did not finish
    void supervised({ log, unit: "clean-up" }, () => store.dropStagedRaw());
    this.#timer.start();
  }

  wake(): void {
    this.#timer.wake();
  }

  async idle(): Promise<void> {
    await Promise.allSettled([this.#running]);
  }

  /** Ends after the slice that is being deleted. */
  stop(): Promise<void> {
    this.#stopping = true;
    return this.#timer.stop();
  }

  #keep(): number {
    return Math.floor(this.#options.config().report.keep_dropped / 1000);
  }

  #nextDue(): number | undefined {
    const seconds = this.#options.store.nextTallyPurge(this.#keep());
    return seconds === undefined ? undefined : seconds * 1000;
  }

  async #run(): Promise<void> {
    const { store, clock, composer, log } = this.#options;
    for (let slices = 1; !this.#stopping; slices++) {
      if (store.purgeTallies(epochSeconds(clock), this.#keep(), SLICE) === 0) return;
      if (slices % CHECKPOINT_SLICES === 0)
        await supervised({ log, unit: "checkpoint" }, () => composer.checkpoint());
      await turn();
    }
  }
}
