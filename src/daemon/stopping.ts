/** Stops the parts of the daemon: those that use others first. */
import type { Clock, Timer } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { supervised } from "../lib/supervised.ts";

/** The order of stopping. */
const ORDER = [
  "jobs",
  "scheduler",
  "delivery",
  "control",
  "smtp",
  "feed",
  "archive",
  "ingest",
  // after all that takes mail in: a bounce that is accepted last is recorded
  "bounces",
  "queue",
  "lock",
] as const;
export type StoppedPart = (typeof ORDER)[number];

type Stop = () => void | Promise<void>;

/** Longer than any part waits by itself. A part that has not stopped by then is left as it is. */
const LIMIT_MS = 30_000;

export class Stopping {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #running: { readonly part: StoppedPart; readonly stop: Stop }[] = [];
  #begun = false;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Notes how a part that runs is stopped; one that was started too late is stopped at once. */
  add(part: StoppedPart, stop: Stop): void {
    if (this.#begun) void this.#stop(part, stop);
    else this.#running.push({ part, stop });
  }

  /** Stops everything. A part that fails, or takes half a minute, is logged, and the next one is stopped. */
  async all(): Promise<void> {
    this.#begun = true;
    const running = this.#running.splice(0);
    for (const part of ORDER) {
      for (const each of running) if (each.part === part) await this.#stop(part, each.stop);
    }
  }

  async #stop(part: StoppedPart, stop: Stop): Promise<void> {
    await supervised({ log: this.#log, unit: "stop", fields: { part } }, () => this.#limited(stop));
  }

  /** Errors: those of `stop`; `daemon.stopping` when it takes too long. */
  async #limited(stop: Stop): Promise<void> {
    let late = false;
    let timer: Timer | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = this.#clock.after(LIMIT_MS, () => {
        late = true;
        resolve();
      });
    });
    try {
      await Promise.race([stop(), limit]);
    } finally {
      timer?.cancel();
    }
    if (late) throw new MailreportError("daemon.stopping", { detail: `no end after ${LIMIT_MS / 1000} s` });
  }
}
