/** Paused subsystems: stored in the queue, and put into force in the parts that they concern. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { DaemonEventSink } from "../model/events.ts";
import type { Subsystem } from "../model/queue.ts";
import type { Parts } from "./parts.ts";

export class Pauses {
  readonly #parts: Parts;
  readonly #clock: Clock;
  readonly #events: DaemonEventSink;

  constructor(parts: Parts, clock: Clock, events: DaemonEventSink) {
    this.#parts = parts;
    this.#clock = clock;
    this.#events = events;
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
    const detail = { destination, reason };
    if (changed) this.#events.emit("control.changed", { command: `pause ${subsystem}`, who, detail });
    this.apply();
    return changed;
  }

  /** True when it changed something. Errors: those of the store. */
  resume(subsystem: Subsystem, destination: string | null, who: string, reason: string | null): boolean {
    const changed = this.#parts.need("queue").resume(subsystem, destination);
    const detail = { destination, reason };
    if (changed) this.#events.emit("control.changed", { command: `resume ${subsystem}`, who, detail });
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
