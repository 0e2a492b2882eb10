/** Mails that are stored, answered and not read yet; and who waits until they are. */
import type { Clock } from "../../lib/clock.ts";

interface Waiting {
  /** So many must have been read. */
  readonly goal: number;
  readonly done: () => void;
}

export class Backlog {
  readonly #clock: Clock;
  #unparsed = 0;
  /** Mails that were read after they had been stored, since the start. */
  #read = 0;
  #waiting: Waiting[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#unparsed;
  }

  /** The archive was opened, with so many of them. */
  begin(unparsed: number): void {
    this.#unparsed = unparsed;
  }

  stored(): void {
    this.#unparsed++;
  }

  /** The oldest ones were read. */
  read(mails: number): void {
    this.#unparsed -= mails;
    this.#read += mails;
    this.#waiting = this.#waiting.filter(({ goal, done }) => {
      const waits = this.#unparsed > 0 && this.#read < goal;
      if (!waits) done();
      return waits;
    });
  }

  /** Resolves when all that are unparsed now have been read, or after `limitMs`. */
  allParsed(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(limitMs, resolve);
      const done = (): void => {
        timer.cancel();
        resolve();
      };
      this.#waiting.push({ goal: this.#read + this.#unparsed, done });
    });
  }
}
