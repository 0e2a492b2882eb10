/**
 * Deletes in slices what is not needed any more: tallies of composed reports, those of dropped ones after a time, and
 * parts of large messages that were stored for a composition which failed.
 */
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
  /** Ids of the messages that are being stored and composed now. */
  readonly staging: () => ReadonlySet<string>;
}

export class TallyCleanup {
  readonly #options: CleanupOptions;
  readonly #timer: DueTimer;
  /** Parts of messages may be left: those that the last run did not finish, at first. */
  #staged = true;
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
    this.#timer.start();
  }

  /** Says that parts of a message could not be deleted when its composition failed. */
  staged(): void {
    this.#staged = true;
    this.wake();
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
    if (this.#staged) return this.#options.clock.now();
    const seconds = this.#options.store.nextTallyPurge(this.#keep());
    return seconds === undefined ? undefined : seconds * 1000;
  }

  async #run(): Promise<void> {
    try {
      await this.#dropStaged();
    } finally {
      await this.#purge();
    }
  }

  async #purge(): Promise<void> {
    const { store, clock, composer, log } = this.#options;
    for (let slices = 1; !this.#stopping; slices++) {
      if (store.purgeTallies(epochSeconds(clock), this.#keep(), SLICE) === 0) return;
      if (slices % CHECKPOINT_SLICES === 0)
        await supervised({ log, unit: "checkpoint" }, () => composer.checkpoint());
      await turn();
    }
  }

  /** One message in one transaction. */
  async #dropStaged(): Promise<void> {
    const { store, staging } = this.#options;
    while (this.#staged && !this.#stopping) {
      // before the transaction: what is left meanwhile is told again
      this.#staged = false;
      try {
        this.#staged = store.dropStagedRaw(staging()) > 0;
      } catch (error) {
        this.#staged = true;
        throw error;
      }
      await turn();
    }
  }
}
