/** Stops the parts of the daemon: those that use others first. */
import type { Log } from "../lib/log/log.ts";
import { supervised } from "../lib/supervised.ts";

/** The order of stopping. */
const ORDER = [
  "housekeeping",
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

export class Stopping {
  readonly #log: Log;
  readonly #running: { readonly part: StoppedPart; readonly stop: Stop }[] = [];
  #begun = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Notes how a part that runs is stopped; one that was started too late is stopped at once. */
  add(part: StoppedPart, stop: Stop): void {
    if (this.#begun) void this.#stop(part, stop);
    else this.#running.push({ part, stop });
  }

  /** Stops everything. A part that fails is logged, and the next one is stopped. */
  async all(): Promise<void> {
    this.#begun = true;
    const running = this.#running.splice(0);
    for (const part of ORDER) {
      for (const each of running) if (each.part === part) await this.#stop(part, each.stop);
    }
  }

  async #stop(part: StoppedPart, stop: Stop): Promise<void> {
    await supervised({ log: this.#log, unit: "stop", fields: { part } }, stop);
  }
}
