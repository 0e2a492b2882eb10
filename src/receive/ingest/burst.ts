/**
 * The burst rule: which mails are parsed before they are answered, and when the others are parsed.
 *
 * Mails that came during a commit wait together for the next one. Up to four are parsed first, and stored and answered with
 * their outcome. More than four are a burst: their bytes are stored and answered, so that senders wait for the disk alone, and
 * so are those of mails that come within 20 ms after it. Spooled mail is parsed when there was no burst for 20 ms. When 10,000
 * mails are spooled the rule ends: each mail is parsed before its answer, so that senders wait for the parsers, and spooled mail
 * is parsed beside it. Nobody else counts or waits; `now` and `later` mail is not subject to the rule.
 */
import type { ParseWhen } from "./protocol.ts";

/** Parsing this number of small mails takes about as long as their commit. */
const FEW = 4;
/** Longer than a burst pauses between two commits. */
const CALM_MS = 20;
/** Maximum number of spooled mails: about as many as are parsed in ten seconds. */
export const MOST_SPOOLED = 10_000;

export class Burst {
  readonly #monotonic: () => number;
  #until = Number.NEGATIVE_INFINITY;

  /** @param monotonic milliseconds */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /**
   * Mails that share the next commit.
   * @param spooled mails that are stored and not parsed yet
   * @returns whether those that came as `soon` are stored before they are parsed
   */
  storeFirst(mails: readonly { readonly when: ParseWhen }[], spooled: number): boolean {
    if (this.isFull(spooled)) return false;
    if (mails.filter(({ when }) => when === "soon").length > FEW) this.#until = Number.POSITIVE_INFINITY;
    return this.#active;
  }

  /** The commit of a burst has ended, however long it took: senders can answer only now. */
  committed(): void {
    if (this.#until === Number.POSITIVE_INFINITY) this.#until = this.#monotonic() + CALM_MS;
  }

  /** Whether this number of mails is parsed at once, in the thread that commits. */
  isFew(mails: number): boolean {
    return mails <= FEW;
  }

  /** Whether so much is spooled that senders wait for the parsers. */
  isFull(spooled: number): boolean {
    return spooled >= MOST_SPOOLED;
  }

  /** Milliseconds until spooled mail may be parsed; 0: now. */
  calmIn(spooled: number): number {
    return !this.isFull(spooled) && this.#active
      ? Math.ceil(Math.min(CALM_MS, this.#until - this.#monotonic()))
      : 0;
  }

  /** Somebody waits for spooled mail. */
  end(): void {
    this.#until = Number.NEGATIVE_INFINITY;
  }

  get #active(): boolean {
    return this.#monotonic() < this.#until;
  }
}
