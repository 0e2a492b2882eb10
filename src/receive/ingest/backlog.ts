/** Mails that are stored, answered and not parsed yet, as the archive counts them; and who waits until they are parsed. */
import type { Clock } from "../../lib/clock.ts";
import type { IntakeResult, SpoolState } from "../../store/archive/intake.ts";

interface Waiting {
  /** The newest mail that it waits for. */
  readonly newest: number;
  /** How many of its mails are unparsed. */
  left: number;
  readonly resolve: (left: number) => void;
}

export class Backlog {
  readonly #clock: Clock;
  #spool: SpoolState = { unparsed: 0, oldest: null, newest: null };
  #waiting: Waiting[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Unparsed mails. */
  get size(): number {
    return this.#spool.unparsed;
  }

  /** What the archive says now. */
  update(spool: SpoolState): void {
    this.#spool = spool;
    const { oldest } = spool;
    this.#waiting = this.#waiting.filter((one) => {
      const waits = oldest !== null && oldest <= one.newest;
      if (!waits) one.resolve(0);
      return waits;
    });
  }

  /** Spooled mails that were parsed since. */
  parsed(results: readonly IntakeResult[]): void {
    for (const one of this.#waiting) one.left -= results.filter(({ mailId }) => mailId <= one.newest).length;
  }

  /**
   * Resolves when all mails that are unparsed now have been parsed, or after `limitMs`, with the number of those that are
   * still unparsed.
   */
  allParsed(limitMs: number): Promise<number> {
    const { unparsed, newest } = this.#spool;
    if (unparsed === 0 || newest === null) return Promise.resolve(0);
    return new Promise((resolve) => {
      const timer = this.#clock.after(limitMs, () => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting);
        resolve(this.#left(waiting));
      });
      const waiting: Waiting = {
        newest,
        left: unparsed,
        resolve: (left) => {
          timer.cancel();
          resolve(left);
        },
      };
      this.#waiting.push(waiting);
    });
  }

  /** Nobody waits any longer: mail is not parsed at present. */
  giveUp(): void {
    for (const waiting of this.#waiting.splice(0)) waiting.resolve(this.#left(waiting));
  }

  #left({ left }: Waiting): number {
    return Math.min(Math.max(1, left), this.size);
  }
}
