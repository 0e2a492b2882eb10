/** The services of the control socket over a real queue. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Parts } from "../../src/daemon/parts.ts";
import { Pauses } from "../../src/daemon/pauses.ts";
import { makeServices, type ServiceOptions } from "../../src/daemon/services.ts";
import type { LogSink } from "../../src/lib/log/pino.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { type FaultyStore, faultyStore } from "../support/faulty-store.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { type RecordedLog, recordedLog } from "../support/recorded-log.ts";
import { testConfig } from "../support/test-config.ts";

let dir: string;
let real: QueueStore;
let faults: FaultyStore;
let log: RecordedLog;
let parts: Parts;
const clock = new FakeClock();

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "services-"));
  real = openQueueStore(join(dir, "queue.db"));
  faults = faultyStore(real);
  log = recordedLog();
  parts = new Parts(testConfig(), () => null);
  parts.made.queue = faults.store;
});
afterEach(() => {
  real.close();
  rmSync(dir, { recursive: true, force: true });
});

const services = () =>
  makeServices({
    parts,
    pauses: new Pauses(parts),
    clock,
    sink: { log } as unknown as LogSink,
    events: loggedEvents(log, clock),
  } as unknown as ServiceOptions).services;
const by = (reason: string) => ({ who: "control socket", reason });

it("a command that was carried out was told as failed when its audit failed: the log has both", async () => {
  faults.failWith("store.full", "audit");
  const target = "@slow.example";
  await services().suppressions.add.run({ target, until: null }, by("asked for"));
  expect(real.suppressions()).toMatchObject([{ target }]);
  expect(log.of("control.changed")).toMatchObject([{ command: "suppress add", target }]);
  expect(log.of("unit.failed")).toMatchObject([
    { unit: "audit", command: "suppress add", code: "store.full" },
  ]);
});

it("a resume was logged without who and why", async () => {
  const { pauses } = services();
  const asked = { subsystem: "mta", destination: "slow.example" } as const;
  await pauses.pause.run(asked, by("they asked"));
  expect(pauses.list()).toMatchObject([{ ...asked, ...by("they asked") }]);
  await pauses.resume.run(asked, by("they recovered"));
  expect(log.of("control.changed").at(-1)).toMatchObject({
    command: "resume mta",
    destination: "slow.example",
    who: "control socket",
    reason: "they recovered",
  });
});
