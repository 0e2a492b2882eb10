/**
 * Events: what has happened, told to everybody who wants to know. A catalogue is an object type that gives each event
 * its fields; model/events.ts has that of the daemon.
 */
import { type Log, silentLog } from "./log/log.ts";
import { supervised } from "./supervised.ts";

/** Names of a catalogue. */
export type NameOf<C extends object> = keyof C & string;

/** One event: its name decides the type of its fields. */
export type EventOf<C extends object, N extends NameOf<C> = NameOf<C>> = {
  readonly [Name in N]: { readonly name: Name; readonly fields: C[Name] };
}[N];

/** What a part that reports events is given. */
export interface EventSink<C extends object> {
  emit<N extends NameOf<C>>(name: N, fields: C[N]): void;
}

interface Subscription<C extends object> {
  readonly subscriber: string;
  /** Undefined: all events. */
  readonly names: ReadonlySet<string> | undefined;
  readonly call: (event: EventOf<C>) => void;
  /** The last call failed, and was logged. */
  failing: boolean;
}

/**
 * Calls each subscriber of an event, in the order of subscription, before `emit` returns. A subscriber that throws harms
 * neither the emitter nor the others: it is logged as a failed unit of work, once until a call succeeds again.
 */
export class Events<C extends object> implements EventSink<C> {
  readonly #log: Log;
  readonly #subscriptions = new Set<Subscription<C>>();

  constructor(log: Log) {
    this.#log = log;
  }

  emit<N extends NameOf<C>>(name: N, fields: C[N]): void {
    const event = { name, fields } as unknown as EventOf<C>;
    // a copy: one who subscribes during an event gets the next one
    for (const subscription of [...this.#subscriptions]) {
      const { names } = subscription;
      if (!this.#subscriptions.has(subscription)) continue;
      if (names === undefined || names.has(name)) this.#call(subscription, event);
    }
  }

  /**
   * Subscribes to events by name, or to all. Returns what ends the subscription. Work that takes long is a unit of its
   * own: `call` only begins it.
   * @param subscriber who it is, for the log
   */
  subscribe<N extends NameOf<C>>(
    subscriber: string,
    names: readonly N[] | "all",
    call: (event: EventOf<C, N>) => void,
  ): () => void {
    const subscription: Subscription<C> = {
      subscriber,
      names: names === "all" ? undefined : new Set(names),
      call: call as (event: EventOf<C>) => void,
      failing: false,
    };
    this.#subscriptions.add(subscription);
    return () => void this.#subscriptions.delete(subscription);
  }

  #call(subscription: Subscription<C>, event: EventOf<C>): void {
    const { subscriber, call, failing } = subscription;
    const log = failing ? silentLog : this.#log;
    void supervised({ log, unit: "event subscriber", fields: { subscriber, event: event.name } }, () => {
      subscription.failing = true;
      const result: unknown = call(event);
      subscription.failing = false;
      return result; // of an asynchronous subscriber a promise, of which a rejection is logged too
    });
  }
}
