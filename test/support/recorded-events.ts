/** Events for tests: kept, written to a log as the daemon does, or neither. */
import { logEvents } from "../../src/daemon/event-log.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { Events } from "../../src/lib/events.ts";
import { type Log, silentLog } from "../../src/lib/log/log.ts";
import type { DaemonEvents, EventFields, EventName } from "../../src/model/events.ts";
import { FakeClock } from "./fake-clock.ts";

/** Events that nobody wants. */
export const noEvents: DaemonEvents = new Events(silentLog);

/** Events of which the log has its lines. */
export function loggedEvents(log: Log, clock: Clock = new FakeClock()): DaemonEvents {
  const events: DaemonEvents = new Events(log);
  logEvents(events, log, clock);
  return events;
}

/** What a subscriber of all events got. */
export interface Got {
  /** In order. */
  readonly names: EventName[];
  /** The fields of an event, each time that it came. */
  of<N extends EventName>(name: N): EventFields[N][];
}

export function gotEvents(events: DaemonEvents): Got {
  const names: EventName[] = [];
  const all: { readonly name: EventName; readonly fields: unknown }[] = [];
  events.subscribe("test", "all", (event) => {
    names.push(event.name);
    all.push(event);
  });
  return {
    names,
    of: <N extends EventName>(name: N) =>
      all.filter((event) => event.name === name).map(({ fields }) => fields as EventFields[N]),
  };
}
