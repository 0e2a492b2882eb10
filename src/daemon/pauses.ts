/** Paused subsystems: stored in the queue, and put into force in the parts that they concern. */
import type { Pause } from "../model/queue.ts";
import type { Subsystem } from "../model/subsystems.ts";
import type { PauseControl } from "../services/pauses.ts";
import type { Parts } from "./parts.ts";
import { applyPauses } from "./subsystems.ts";

export class Pauses implements PauseControl {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Errors: those of the store. */
  list(): readonly Pause[] {
    return this.#parts.need("queue").pauses();
  }

  /** Errors: those of the store. */
  isPaused(subsystem: Subsystem): boolean {
    return this.list().some((pause) => pause.subsystem === subsystem && pause.destination === null);
  }

  /** True when it changed something. Errors: those of the store. */
  pause(pause: Pause): boolean {
    const changed = this.#parts.need("queue").pause(pause);
    this.apply();
    return changed;
  }

  /** True when it changed something. Errors: those of the store. */
  resume(subsystem: Subsystem, destination: string | null): boolean {
    const changed = this.#parts.need("queue").resume(subsystem, destination);
    this.apply();
    return changed;
  }

  /**
   * Puts the stored pauses of intake and parsing into force; delivery and the scheduler ask the store when they are
   * woken. When the store cannot be asked, nothing changes. Errors: those of the store.
   */
  apply(): void {
    applyPauses(this.#parts, (subsystem) => this.isPaused(subsystem));
  }
}
