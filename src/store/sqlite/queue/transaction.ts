/**
 * Transactions of queue.db and the counters that change with them: a counter changes in the same commit as what it
 * counts, and reading one costs nothing.
 */
import { type EnvelopeState, isFinal } from "../../../model/queue.ts";
import type { Sqlite } from "../open.ts";

export interface Counters {
  /** Inside a transaction: changes a counter by `n`. */
  add(name: string, n: number): void;
  get(name: string): number;
  all(): Record<string, number>;
}

export interface QueueTransaction {
  readonly counters: Counters;
  /** Inside a transaction: counts `n` envelopes out of one state and into another. */
  moved(from: EnvelopeState, to: EnvelopeState, n?: number): void;
  /** Runs `work` as one transaction. On an error nothing of it stays, the caches are emptied. */
  run<T>(work: () => T): T;
  /** Called after a rollback. */
  onRollback(forget: () => void): void;
}

/** Counters that are shown from the start, at 0. */
const KNOWN = [
  "outgoing.open",
  "outgoing.held",
  "outgoing.composed",
  "outgoing.dropped",
  "outgoing.tally",
  "outgoing.tally.dropped",
  "outgoing.message",
  "outgoing.message.composed",
  "outgoing.message.dropped",
  "queue.message",
  "queue.envelope.pending",
  "queue.envelope.inflight",
  "queue.envelope.held",
  "queue.delivered",
  "queue.failed",
  "queue.expired",
  "queue.removed",
  "feed.accepted",
  "feed.repeated",
  "feed.rejected",
  "feed.late",
];

export function makeQueueTransaction(database: Sqlite): QueueTransaction {
  const committed = new Map<string, number>(KNOWN.map((name) => [name, 0]));
  for (const row of database.prepare("SELECT name, value FROM counter").all() as {
    name: string;
    value: number;
  }[]) {
    committed.set(row.name, row.value);
  }
  const store = database.prepare("INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)");
  const changes = new Map<string, number>();
  const forgetters: (() => void)[] = [];

  const begin = database.transaction((work: () => unknown) => {
    const result = work();
    for (const [name, change] of changes) {
      if (change !== 0) store.run(name, (committed.get(name) ?? 0) + change);
    }
    return result;
  }).immediate;

  const add = (name: string, n: number): void => void changes.set(name, (changes.get(name) ?? 0) + n);

  return {
    counters: {
      add,
      get: (name) => committed.get(name) ?? 0,
      all: () => Object.fromEntries(committed),
    },
    moved(from, to, n = 1) {
      if (from === to) return;
      add(counterOf(from), -n);
      add(counterOf(to), n);
    },
    run<T>(work: () => T): T {
      try {
        const result = begin(work) as T;
        for (const [name, change] of changes) committed.set(name, (committed.get(name) ?? 0) + change);
        changes.clear();
        return result;
      } catch (error) {
        changes.clear();
        for (const forget of forgetters) forget();
        throw error;
      }
    },
    onRollback: (forget) => void forgetters.push(forget),
  };
}

function counterOf(state: EnvelopeState): string {
  return isFinal(state) ? `queue.${state}` : `queue.envelope.${state}`;
}
