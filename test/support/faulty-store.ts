/** A queue store whose methods fail when a test says so. */
import { type ErrorCode, MailreportError } from "../../src/lib/errors.ts";
import type { QueueStore } from "../../src/store/queue.ts";

export interface FaultyStore {
  readonly store: QueueStore;
  /** From now on the methods throw what `make` makes, before they do anything. */
  fail(make: () => unknown, ...methods: (keyof QueueStore)[]): void;
  /** The same, with an error of the catalogue. */
  failWith(code: ErrorCode, ...methods: (keyof QueueStore)[]): void;
  /** All methods work again. */
  repair(): void;
  /** Calls of a method, those that failed included. */
  calls(method: keyof QueueStore): number;
}

export function faultyStore(real: QueueStore): FaultyStore {
  const faults = new Map<string, () => unknown>();
  const counts = new Map<string, number>();
  const store = Object.fromEntries(
    Object.entries(real).map(([name, method]) => [
      name,
      (...args: unknown[]): unknown => {
        counts.set(name, (counts.get(name) ?? 0) + 1);
        const make = faults.get(name);
        if (make) throw make();
        return (method as (...given: unknown[]) => unknown)(...args);
      },
    ]),
  ) as unknown as QueueStore;
  const fail: FaultyStore["fail"] = (make, ...methods) => {
    for (const method of methods) faults.set(method, make);
  };
  return {
    store,
    fail,
    failWith: (code, ...methods) =>
      fail(() => new MailreportError(code, { detail: "injected by a test" }), ...methods),
    repair: () => faults.clear(),
    calls: (method) => counts.get(method) ?? 0,
  };
}
