import type { Clock, Timer } from "../../src/lib/clock.ts";

/** A clock that moves only when told. `advance` runs timers in order and lets promises settle between them. */
export class FakeClock implements Clock {
  #now: number;
  #mono = 0;
  #timers: { at: number; fn: () => void }[] = [];

  constructor(start: string | number = "2026-11-20T00:00:00Z") {
    this.#now = typeof start === "number" ? start : Date.parse(start);
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#mono;
  }

  after(ms: number, fn: () => void): Timer {
    const timer = { at: this.#mono + Math.max(0, ms), fn };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((t) => t !== timer);
      },
    };
  }

  get pendingTimers(): number {
    return this.#timers.length;
  }

  async advance(ms: number): Promise<void> {
    const until = this.#mono + ms;
    for (;;) {
      const next = this.#timers.filter((t) => t.at <= until).sort((a, b) => a.at - b.at)[0];
      const to = next ? next.at : until;
      this.#now += to - this.#mono;
      this.#mono = to;
      if (!next) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      next.fn();
      await settle();
    }
    await settle();
  }

  /** Moves the wall clock only, as an operator or NTP does. */
  jump(ms: number): void {
    this.#now += ms;
  }
}

/** Lets microtasks and immediates run. */
export async function settle(turns = 5): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}
