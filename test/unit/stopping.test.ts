/** Stopping the parts of the daemon. */
import { expect, it } from "vitest";
import { type StoppedPart, Stopping } from "../../src/daemon/stopping.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { recordedLog } from "../support/recorded-log.ts";

it("a part that never stopped held up the end of the daemon: it is logged, and the next one is stopped", async () => {
  const clock = new FakeClock();
  const log = recordedLog();
  const stops = new Stopping(log, clock);
  const stopped: StoppedPart[] = [];
  stops.add("feed", () => new Promise(() => {}));
  stops.add("queue", () => void stopped.push("queue"));
  const all = stops.all();
  await clock.advance(29_000);
  expect(stopped).toEqual([]);
  await clock.advance(1000);
  await all;
  expect(stopped).toEqual(["queue"]);
  expect(log.of("unit.failed")).toMatchObject([{ unit: "stop", part: "feed", code: "daemon.stopping" }]);
  expect(clock.pendingTimers).toBe(0);
});

it("a part that fails to stop is logged, and the next one is stopped", async () => {
  const log = recordedLog();
  const stops = new Stopping(log, new FakeClock());
  const stopped: StoppedPart[] = [];
  stops.add("feed", () => Promise.reject(new TypeError("boom")));
  stops.add("queue", () => void stopped.push("queue"));
  await stops.all();
  expect(stopped).toEqual(["queue"]);
  expect(log.of("unit.failed")).toMatchObject([{ unit: "stop", part: "feed", code: "daemon.bug" }]);
});
