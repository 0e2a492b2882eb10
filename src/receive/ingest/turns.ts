/** Lets work that goes on side by side end in the order in which it began. */
export interface Turn {
  /** Resolves when all before have passed. */
  readonly comes: Promise<void>;
  /** The next one may go on. */
  pass(): void;
  /** All of it is done; call it after `pass`. */
  done(): void;
}

export class Turns {
  #last: Promise<void> = Promise.resolve();
  #open = 0;

  /** Whether some work is not done. */
  get busy(): boolean {
    return this.#open > 0;
  }

  /** The turn behind all that were taken before. */
  take(): Turn {
    const comes = this.#last;
    let pass: () => void = () => {};
    this.#last = new Promise((resolve) => {
      pass = resolve;
    });
    this.#open++;
    return {
      comes,
      pass: () => pass(),
      done: () => {
        this.#open--;
      },
    };
  }
}
