/**
 * Writes to the queue store that must not be lost while it cannot commit (disk full, locked, I/O error): kept in memory
 * in their order and tried again by the clock until they succeed. After the end of the process they are gone; the
 * store then says `inflight`, and the next start puts those envelopes back.
 */
import type { Clock, Timer } from "../lib/clock.ts";
import { errorText } from "../lib/errors.ts";
import type { Log, LogFields } from "../lib/log/log.ts";
import { type Failure, failureOf } from "../lib/supervised.ts";

export interface PendingWrite {
  /** What it is, for the log. */
  readonly fields: LogFields;
  /** One transaction of the store. */
  readonly commit: () => void;
  /** Called when the write fails for a reason that trying again does not change. */
  readonly onFailed: (failure: Failure) => void;
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;

export class PendingWrites {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onEmpty: () => void;
  #writes: PendingWrite[] = [];
  #timer: Timer | undefined;
  #wait = FIRST_WAIT_MS;

  /** @param onEmpty called when the last kept write was committed */
  constructor(clock: Clock, log: Log, onEmpty: () => void) {
    this.#clock = clock;
    this.#log = log;
    this.#onEmpty = onEmpty;
  }

  /** Number of writes that are not committed. */
  get size(): number {
    return this.#writes.length;
  }

  /** Commits now, or after the writes that are kept. */
  add(write: PendingWrite): void {
    if (this.#writes.length > 0) {
      this.#writes.push(write);
      return;
    }
    const failure = this.#try(write);
    if (!failure) return;
    this.#log.error("deliver.problem", {
      ...write.fields,
      code: failure.error.code,
      error: errorText(failure.error),
      reason: "the store cannot commit; delivery waits and tries again",
    });
    this.#writes.push(write);
    this.#arm();
  }

  /** Tries once more, now, and forgets what still fails. Returns the fields of those. */
  stop(): LogFields[] {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#commitAll();
    return this.#writes.splice(0).map(({ fields }) => fields);
  }

  #arm(): void {
    this.#timer = this.#clock.after(this.#wait, () => {
      this.#timer = undefined;
      this.#commitAll();
      if (this.#writes.length > 0) {
        this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
        this.#arm();
        return;
      }
      this.#wait = FIRST_WAIT_MS;
      this.#log.info("deliver.resumed", {});
      this.#onEmpty();
    });
  }

  /** In order, up to the first one that the store cannot commit. */
  #commitAll(): void {
    for (let next = this.#writes[0]; next !== undefined; next = this.#writes[0]) {
      if (this.#try(next)) return;
      this.#writes.shift();
    }
  }

  /** The failure, when trying again later may succeed. */
  #try({ commit, onFailed }: PendingWrite): Failure | undefined {
    try {
      commit();
    } catch (error) {
      const failure = failureOf(error);
      if (failure.error.temporary) return failure;
      onFailed(failure);
    }
    return undefined;
  }
}
