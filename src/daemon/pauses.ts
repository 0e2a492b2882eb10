/** Paused subsystems: stored in the queue, and put into force in the parts that they concern. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { Log } from "../lib/log/log.ts";
import type { Subsystem } from "../model/queue.ts";
import type { Parts } from "./parts.ts";

export class Pauses {
  readonly #parts: Parts;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(parts: Parts, clock: Clock, log: Log) {
    this.#parts = parts;
    this.#clock = clock;
    this.#log = log;
  }

  /** Errors: those of the store. */
  isPaused(subsystem: Subsystem): boolean {
    return this.#parts
      .need("queue")
      .pauses()
      .some((p) => p.subsystem === subsystem && p.destination === null);
  }

  /** True when it changed something. Errors: those of the store. */
  pause(subsystem: Subsystem, destination: string | null, who: string, reason: string | null): boolean {
    const since = epochSeconds(this.#clock);
    const pause = { subsystem, destination, since, who, reason };
    const changed = this.#parts.need("queue").pause(pause);
    if (changed)
      this.#log.info("control.changed", { command: `pause ${subsystem}`, destination, who, reason });
    this.apply();
    return changed;
  }

  /** True when it changed something. Errors: those of the store. */
  resume(subsystem: Subsystem, destination: string | null, who: string, reason: string | null): boolean {
    const changed = this.#parts.need("queue").resume(subsystem, destination);
    if (changed)
      this.#log.info("control.changed", { command: `resume ${subsystem}`, destination, who, reason });
    this.apply();
    return changed;
  }

  /** Puts the stored pauses into force; when the store cannot be asked, nothing changes. Errors: those of the store. */
  apply(): void {
    const { smtp, ingest, delivery, scheduler } = this.#parts.made;
    const [mail, parsing] = [this.isPaused("smtp"), this.isPaused("mda")];
    smtp?.pauseIntake(mail);
    ingest?.pauseParsing(parsing);
    delivery?.wake();
    scheduler?.wake();
  }
}
