/** Limits the decompressed bytes of one mail: the sum of all its parts, and the ratio (RFC 9990 8.1). */
import type { IngestLimits } from "../../config/schema.ts";
import { ReadStop } from "../context.ts";

/** Below this the ratio is not checked. */
const RATIO_FROM = 1 << 20;

export class Budget {
  readonly #most: number;
  readonly #ratio: number;
  #used = 0;

  constructor(limits: IngestLimits) {
    this.#most = limits.decompressed_size;
    this.#ratio = limits.decompression_ratio;
  }

  /**
   * A meter for one stream. `begin` subtracts what an earlier pass over the same stream used; `take` throws ReadStop
   * `too-large`.
   */
  meter(): { begin(): void; take(out: number, carried: number): void } {
    let mine = 0;
    return {
      begin: () => {
        this.#used -= mine;
        mine = 0;
      },
      take: (out, carried) => {
        mine += out;
        this.#used += out;
        if (this.#used > this.#most) throw new ReadStop("too-large", `over ${this.#most} bytes decompressed`);
        if (mine > RATIO_FROM && mine > this.#ratio * Math.max(1, carried)) {
          throw new ReadStop("too-large", `decompression ratio over ${this.#ratio}`);
        }
      },
    };
  }
}
