/** The source of each feed of the configuration. A new type of feed is a new file and a line here. */
import type { Config } from "../config/schema.ts";
import { epochSeconds } from "../lib/clock.ts";
import { failureOf } from "../lib/supervised.ts";
import { type FeedSocket, type FeedSocketOptions, startFeedSocket } from "./socket.ts";
import { type FeedSource, watchedFeeder } from "./source.ts";

/** What every source is given. */
export type FeedDependencies = Omit<FeedSocketOptions, "name" | "path" | "group" | "mode">;

export function makeFeedSource(feed: Config["feed"][number], dependencies: FeedDependencies): FeedSource {
  return socketSource(feed, dependencies);
}

function socketSource(
  { name, socket: path, group, mode }: Config["feed"][number],
  dependencies: FeedDependencies,
): FeedSource {
  const { clock } = dependencies;
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
        ...dependencies,
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
