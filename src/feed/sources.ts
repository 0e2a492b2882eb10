/** The source of each feed of the configuration. A new type of feed is a new file and a line here. */
import type { Config } from "../config/schema.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf } from "../lib/supervised.ts";
import type { DaemonEventSink } from "../model/events.ts";
import type { Feeder } from "./batch.ts";
import { type FeedSocket, startFeedSocket } from "./socket.ts";
import { type FeedSource, watchedFeeder } from "./source.ts";

/** What every source is given. */
export interface FeedDependencies {
  readonly feeder: Feeder;
  /** How far the source was read with what has been counted; undefined: it never gave a cursor. */
  readonly cursor: () => string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
}

export function makeFeedSource(feed: Config["feed"][number], dependencies: FeedDependencies): FeedSource {
  return socketSource(feed, dependencies);
}

function socketSource(
  { name, socket: path, group, mode }: Config["feed"][number],
  dependencies: FeedDependencies,
): FeedSource {
  const { clock, log, events } = dependencies;
  const { feeder, traffic } = watchedFeeder(
    dependencies.feeder,
    () => epochSeconds(clock),
    (thrown) => failureOf(thrown).error.code,
  );
  let running: FeedSocket | undefined;
  return {
    name,
    async start() {
      running = await startFeedSocket({
        clock,
        log,
        events,
        feeder,
        name,
        path,
        group,
        mode: Number.parseInt(mode, 8),
      });
    },
    async stop() {
      const socket = running;
      running = undefined;
      await socket?.stop();
    },
    status: () => ({
      name,
      type: "ndjson",
      where: path,
      state: running ? "running" : "stopped",
      ...traffic(),
    }),
  };
}
