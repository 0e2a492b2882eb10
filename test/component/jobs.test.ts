/** The registry of jobs over a real queue, with a fake clock. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { checkpointJob } from "../../src/daemon/jobs/checkpoint.ts";
import { databaseCheckJob } from "../../src/daemon/jobs/database-check.ts";
import { type Job, JobRegistry } from "../../src/daemon/jobs/registry.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { DaemonEvents } from "../../src/model/events.ts";
import { type JobDetail, type JobSchedule, MISSED_RUN_MS } from "../../src/model/jobs.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { type FaultyStore, faultyStore } from "../support/faulty-store.ts";
import { type Got, gotEvents, loggedEvents } from "../support/recorded-events.ts";
import { type RecordedLog, recordedLog } from "../support/recorded-log.ts";
import { testConfig } from "../support/test-config.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const HOURLY: JobSchedule = { kind: "after", everyMs: HOUR, firstMs: 10 * MINUTE };

let dir: string;
let clock: FakeClock;
let real: QueueStore;
let faults: FaultyStore;
let log: RecordedLog;
let events: DaemonEvents;
let got: Got;
let jobs: JobRegistry;
/** Times of the runs of the job `a`, as hours and minutes. */
let runs: string[];
/** What the job `a` does. */
let work: (signal: AbortSignal) => Promise<JobDetail>;
let schedule: JobSchedule | null;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "jobs-"));
  clock = new FakeClock("2026-11-20T04:00:00Z");
  real = openQueueStore(join(dir, "queue.db"));
  faults = faultyStore(real);
  log = recordedLog();
  events = loggedEvents(log, clock);
  got = gotEvents(events);
  runs = [];
  work = async () => ({ done: runs.length });
  schedule = HOURLY;
  boot();
});
afterEach(async () => {
  await jobs.stop();
  real.close();
  rmSync(dir, { recursive: true, force: true });
});

const time = (): string => new Date(clock.now()).toISOString().slice(11, 16);

/** What the daemon does at start; with one more job, if given. */
function boot(...more: Job[]): void {
  const a: Job = {
    name: "a",
    about: "a job",
    schedule: () => schedule,
    run: (signal) => {
      runs.push(time());
      return work(signal);
    },
  };
  jobs = new JobRegistry({ jobs: [a, ...more], store: faults.store, clock, log, events });
  jobs.start();
}

async function restart(downMs: number): Promise<void> {
  await jobs.stop();
  clock.jump(downMs);
  boot();
}

/** A run that ends when it is told. */
function held(): { end: (detail: JobDetail) => void; fail: (error: Error) => void } {
  const hold = { end: (_: JobDetail) => {}, fail: (_: Error) => {} };
  work = () =>
    new Promise((resolve, reject) => {
      hold.end = resolve;
      hold.fail = reject;
    });
  return hold;
}

const only = () => jobs.list()[0]!;

describe("a job", () => {
  it("runs by its schedule, and tells when it ran, how it ended, and when it runs next", async () => {
    expect(only()).toEqual({
      name: "a",
      about: "a job",
      schedule: "every 1h",
      state: "scheduled",
      last: null,
      nextAt: Date.parse("2026-11-20T04:10:00Z") / 1000,
    });
    await clock.advance(3 * HOUR);
    expect(runs).toEqual(["04:10", "05:10", "06:10"]);
    const at = Date.parse("2026-11-20T06:10:00Z") / 1000;
    expect(only()).toMatchObject({ state: "idle", nextAt: at + 3600 });
    expect(only().last).toMatchObject({
      begunAt: at,
      endedAt: at,
      durationMs: 0,
      result: "ok",
      who: "schedule",
      error: null,
      detail: { done: 3 },
      runs: 3,
      failures: 0,
    });
    expect(got.of("job.finished")).toHaveLength(3);
    expect(log.lines.filter(({ level }) => level !== "debug")).toEqual([]);
  });

  it("on the grid of the clock runs at its times, whenever the daemon was started", async () => {
    schedule = { kind: "clock", everyMs: DAY, offsetMs: 3.5 * HOUR };
    await jobs.stop();
    boot();
    expect(only()).toMatchObject({ schedule: "every 1d at 03:30 UTC" });
    await clock.advance(2 * DAY);
    expect(runs).toEqual(["03:30", "03:30"]);
  });

  it("that failed was not run again: it runs at its next time; its error is shown, and logged once", async () => {
    work = async () => {
      throw new MailreportError("store.full", { detail: "queue.db" });
    };
    await clock.advance(10 * MINUTE);
    expect(only()).toMatchObject({
      state: "failed",
      last: { result: "failed", code: "store.full", failures: 1 },
    });
    expect(only().last?.error).toMatch(/queue\.db/);
    const next = Date.parse("2026-11-20T05:10:00Z") / 1000;
    expect(got.of("job.failed")).toMatchObject([
      { job: "a", who: "schedule", code: "store.full", next, ms: 0 },
    ]);
    expect(log.lines).toMatchObject([
      { event: "unit.failed", level: "warn", fields: { unit: "job", job: "a" } },
    ]);
    work = async () => ({});
    await clock.advance(HOUR);
    expect(only()).toMatchObject({ state: "idle", last: { result: "ok", runs: 2, failures: 1 } });
    expect(log.of("unit.failed")).toHaveLength(1);
  });

  it("that is a bug ended the daemon: it is logged with its stack, and runs again", async () => {
    work = () => {
      throw new TypeError("no such thing"); // before there is a promise
    };
    await clock.advance(10 * MINUTE);
    expect(log.of("unit.failed")).toMatchObject([
      { job: "a", code: "daemon.bug", stack: expect.stringContaining("TypeError") },
    ]);
    await clock.advance(HOUR);
    expect(runs).toHaveLength(2);
  });

  it("that takes long kept the others waiting: they run beside it, it does not run twice", async () => {
    let others = 0;
    await jobs.stop();
    boot({
      name: "b",
      about: "another",
      schedule: () => HOURLY,
      run: async () => {
        others++;
        return {};
      },
    });
    const hold = held();
    await clock.advance(5 * HOUR);
    expect([runs.length, others]).toEqual([1, 5]);
    expect(only()).toMatchObject({ state: "running", nextAt: null });
    hold.end({});
    await settle();
    await clock.advance(0);
    expect(runs).toHaveLength(2); // what was missed meanwhile is made up for once
    hold.end({});
    await settle();
    await clock.advance(0);
    expect(runs).toHaveLength(2);
  });

  it("that the configuration switches off does not run; a wake after a reload puts it back", async () => {
    schedule = null;
    jobs.wake();
    await clock.advance(5 * HOUR);
    expect(runs).toEqual([]);
    expect(only()).toMatchObject({ state: "disabled", schedule: "off", nextAt: null });
    expect((await jobs.run("a", "control socket")).run).toMatchObject({ result: "ok" });
    schedule = HOURLY;
    jobs.wake();
    await clock.advance(2 * HOUR);
    expect(runs).toHaveLength(3);
  });

  it("a clock set back by ten days stopped a job for ten days", async () => {
    await clock.advance(HOUR);
    expect(runs).toHaveLength(1);
    clock.jump(-10 * DAY);
    await clock.advance(2 * HOUR);
    expect(runs.length).toBeGreaterThanOrEqual(2);
  });
});

describe("a restart", () => {
  it("began the hour of each job anew: the schedule goes on with the stored last run", async () => {
    await clock.advance(10 * MINUTE);
    await restart(30 * MINUTE);
    expect(only()).toMatchObject({ state: "idle", last: { runs: 1, detail: { done: 1 } } });
    await clock.advance(29 * MINUTE);
    expect(runs).toEqual(["04:10"]);
    await clock.advance(MINUTE);
    expect(runs).toEqual(["04:10", "05:10"]);
  });

  it("makes up for runs that were missed, once, soon after the start", async () => {
    await clock.advance(10 * MINUTE);
    await restart(5 * HOUR);
    expect(runs).toHaveLength(1);
    await clock.advance(MISSED_RUN_MS);
    expect(runs).toEqual(["04:10", "09:11"]);
    await clock.advance(HOUR);
    expect(runs).toEqual(["04:10", "09:11", "10:11"]);
  });

  it("keeps the error of a job that failed", async () => {
    work = async () => {
      throw new MailreportError("store.busy");
    };
    await clock.advance(10 * MINUTE);
    await restart(MINUTE);
    expect(only()).toMatchObject({ state: "failed", last: { code: "store.busy", failures: 1 } });
  });

  it("after the process was killed in the middle of a run: the run is shown as stopped, and comes soon again", async () => {
    held();
    await clock.advance(10 * MINUTE);
    const cut = jobs;
    boot(); // the row of the run has no end
    expect(only()).toMatchObject({ state: "scheduled", last: { result: "stopped", endedAt: null } });
    work = async () => ({});
    await clock.advance(MISSED_RUN_MS);
    expect(only()).toMatchObject({ state: "idle", last: { result: "ok", runs: 2 } });
    void cut.stop();
  });
});

describe("a stop", () => {
  it("ends the wait and tells the runs in work, which end after their slice", async () => {
    let slices = 0;
    work = async (signal) => {
      while (!signal.aborted) {
        slices++;
        await settle(1);
      }
      return { slices };
    };
    const running = jobs.run("a", "control socket");
    await settle();
    await jobs.stop();
    const { run, failure } = await running;
    expect([run.result, run.detail, failure]).toEqual(["stopped", { slices }, null]);
    expect(clock.pendingTimers).toBe(0);
    expect(() => jobs.run("a", "control socket")).toThrow(
      expect.objectContaining({ code: "daemon.stopping" }),
    );
  });
});

describe("a run that an operator asks for", () => {
  it("runs now, under the name of who asked; the next one comes an hour later", async () => {
    await clock.advance(5 * MINUTE);
    const { run } = await jobs.run("a", "control socket");
    expect(run).toMatchObject({ result: "ok", who: "control socket", detail: { done: 1 } });
    expect(log.of("job.finished")).toMatchObject([{ job: "a", who: "control socket", result: "ok" }]);
    await clock.advance(HOUR);
    expect(runs).toEqual(["04:05", "05:05"]);
  });

  it("a second one ran beside the first: it is refused, with who runs it since when", async () => {
    const hold = held();
    const first = jobs.run("a", "control socket");
    expect(() => jobs.run("a", "control socket")).toThrow(
      expect.objectContaining({
        code: "job.running",
        httpStatus: 409,
        detail: "a, since 2026-11-20T04:00:00Z (control socket)",
      }),
    );
    hold.end({});
    await first;
    const second = jobs.run("a", "control socket");
    hold.end({});
    expect((await second).run).toMatchObject({ result: "ok" });
  });

  it("of an unknown job is refused with the names of those that there are", () => {
    expect(() => jobs.run("retenion", "control socket")).toThrow(
      expect.objectContaining({ code: "job.unknown", httpStatus: 404, detail: "retenion; the jobs are a" }),
    );
  });

  it("a dry run of a job that has none deleted things: it is refused", () => {
    expect(() => jobs.dryRun("a")).toThrow(expect.objectContaining({ code: "job.no_dry_run" }));
    expect(runs).toEqual([]);
  });

  it("that fails has its error as the answer", async () => {
    work = async () => {
      throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC", syscall: "write" });
    };
    const { run, failure } = await jobs.run("a", "control socket");
    expect(run).toMatchObject({ result: "failed", code: "store.full" });
    expect(failure?.error).toMatchObject({ code: "store.full", temporary: true });
  });
});

describe("a store that cannot write the state of a job", () => {
  it("stopped the job: it runs, its state is shown, and stored with the next run", async () => {
    faults.failWith("store.full", "putJobRun");
    await clock.advance(10 * MINUTE);
    expect(runs).toHaveLength(1);
    expect(only()).toMatchObject({ state: "idle", last: { result: "ok", detail: { done: 1 } } });
    expect(log.of("unit.failed")[0]).toMatchObject({ unit: "state of a job", job: "a", code: "store.full" });
    expect(real.jobRuns()).toEqual([]);
    await clock.advance(HOUR);
    expect(runs).toHaveLength(2);
    faults.repair();
    await clock.advance(HOUR);
    expect(real.jobRuns()).toMatchObject([{ name: "a", runs: 3 }]);
  });

  it("at the start is an error of the start, which is tried again", async () => {
    await jobs.stop();
    faults.failWith("store.busy", "jobRuns");
    expect(() => boot()).toThrow(expect.objectContaining({ code: "store.busy" }));
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("the checkpoint", () => {
  it("that failed made the deletions fail: it is a job of its own, with its own error", async () => {
    const full = () => Promise.reject(new MailreportError("store.full"));
    await jobs.stop();
    boot(checkpointJob(full));
    await clock.advance(HOUR);
    expect(jobs.list().map(({ name, state }) => [name, state])).toEqual([
      ["a", "idle"],
      ["checkpoint", "failed"],
    ]);
  });

  it("behind a long composition held up the end of the daemon: a stop does not wait for it", async () => {
    await jobs.stop();
    boot(checkpointJob(() => new Promise(() => {})));
    const running = jobs.run("checkpoint", "control socket");
    await settle();
    await jobs.stop();
    expect((await running).run).toMatchObject({ result: "stopped", error: null });
  });
});

describe("the check of the databases", () => {
  it("damage that was found was no failure: it is an error in the log, and shown", async () => {
    const found = ["archive.db: row 5 missing from index x", "b", "c", "d"];
    const job = databaseCheckJob(
      () => testConfig(),
      async () => found,
    );
    boot(job);
    const { run } = await jobs.run("database-check", "control socket");
    expect(run).toMatchObject({ result: "failed", code: "store.corrupt" });
    expect(run.error).toMatch(/row 5 missing from index x; b; c; and 1 more/);
    expect(log.lines.at(-1)).toMatchObject({ level: "error", event: "unit.failed" });
    found.length = 0;
    expect((await jobs.run("database-check", "control socket")).run).toMatchObject({ result: "ok" });
  });

  it("is switched off by 0", () => {
    const check = async () => [];
    const at = (database_check: string) =>
      databaseCheckJob(() => testConfig({ jobs: { database_check } }), check).schedule();
    expect(at("0")).toBeNull();
    expect(at("7d")).toEqual({ kind: "clock", everyMs: 7 * DAY, offsetMs: 3.5 * HOUR });
    expect(() => testConfig({ jobs: { database_check: "5m" } })).toThrow(/shorter than 1h/);
  });
});
