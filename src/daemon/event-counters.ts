/** Counters of the events since the start, for `show stats`. */
import { type DaemonEvents, EVENTS } from "../model/events.ts";

/** Counts each event under `event.` and its name, from 0. Returns what tells the counters. */
export function countEvents(events: DaemonEvents): () => Record<string, number> {
  const counts: Record<string, number> = Object.fromEntries(
    Object.keys(EVENTS).map((name) => [`event.${name}`, 0]),
  );
  events.subscribe("counters", "all", ({ name }) => {
    counts[`event.${name}`]!++;
  });
  return () => ({ ...counts });
}
