/** `show jobs` and `jobs run`: the client, the routes and the registry over a real queue. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ControlServer, startControl } from "../../src/control/server.ts";
import type { Services } from "../../src/control/services.ts";
import { run as runClient } from "../../src/ctl/run/run.ts";
import { type Job, JobRegistry } from "../../src/daemon/jobs/registry.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { JobDetail } from "../../src/model/jobs.ts";
import { makeJobs } from "../../src/services/jobs.ts";
import { Operations } from "../../src/services/operation.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { ndjson } from "../support/daemon.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { noEvents } from "../support/recorded-events.ts";
import { recordedLog } from "../support/recorded-log.ts";
import { testConfig } from "../support/test-config.ts";

const HOUR = 3_600_000;

let dir: string;
let clock: FakeClock;
let queue: QueueStore;
let jobs: JobRegistry;
let server: ControlServer;
let audited: unknown[];
/** What the job `retention` does. */
let work: () => Promise<JobDetail>;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "job-commands-"));
  clock = new FakeClock("2026-11-20T04:00:00Z");
  queue = openQueueStore(join(dir, "queue.db"));
  audited = [];
  work = async () => ({ raw_mails: 7, finished_envelopes: 0 });
  const log = recordedLog();
  const hourly = { kind: "after", everyMs: HOUR, firstMs: HOUR } as const;
  const nightly = { kind: "clock", everyMs: 24 * HOUR, offsetMs: 3.5 * HOUR } as const;
  const list: Job[] = [
    {
      name: "retention",
      about: "deletes",
      schedule: () => hourly,
      run: () => work(),
      dryRun: async () => ({ raw_mails: 7 }),
    },
    { name: "checkpoint", about: "copies", schedule: () => null, run: async () => ({}) },
    {
      name: "database-check",
      about: "checks",
      schedule: () => nightly,
      run: async () => {
        throw new MailreportError("store.corrupt", { detail: "archive.db: row 5 missing from index x" });
      },
    },
  ];
  jobs = new JobRegistry({ jobs: list, store: queue, clock, log, events: noEvents });
  jobs.start();
  const operations = new Operations({
    log,
    clock,
    events: noEvents,
    audit: ({ command, detail }) => void audited.push([command, JSON.parse(detail)]),
    wake() {},
  });
  const services = { jobs: makeJobs(operations, jobs) } as unknown as Services;
  const config = testConfig();
  const control = { ...config.control, socket: join(dir, "s") };
  server = await startControl({ ...config, control }, services, log);
});
afterEach(async () => {
  await server.stop();
  await jobs.stop();
  queue.close();
  rmSync(dir, { recursive: true, force: true });
});

async function ctl(columns: number | null, ...args: string[]) {
  let out = "";
  let err = "";
  const code = await runClient({
    args: ["-S", join(dir, "s"), ...args],
    environment: {},
    stdoutIsTTY: columns !== null,
    columns: columns ?? 80,
    now: clock.now(),
    out: (text) => {
      out += text;
    },
    outBytes: () => {},
    err: (text) => {
      err += text;
    },
    stdin: new PassThrough(),
    version: "0",
    files: () => Promise.reject(new Error("no files in this test")),
    confirm: async () => null,
  });
  return { code, out, err };
}

describe("show jobs", () => {
  it("fits 80 columns and has all at 120, with the error of a job that failed", async () => {
    await clock.advance(2 * HOUR);
    await jobs.run("database-check", "schedule");
    await clock.advance(30 * 60_000);
    const { out } = await ctl(80, "show", "jobs");
    expect(out.split("\n").filter((text) => text.length > 80)).toEqual([]);
    expect(out.split("\n").map((text) => text.slice(0, 66).trimEnd())).toEqual([
      "NAME            STATE     LAST     TOOK  RESULT  NEXT    ERROR",
      "retention       idle      30m ago  0ms   ok      in 30m",
      "checkpoint      disabled  -        -     -       -",
      "database-check  failed    30m ago  0ms   failed  in 21h  store.cor",
      "",
    ]);
    const wide = (await ctl(120, "show", "jobs")).out.split("\n");
    expect(wide[0]).toMatch(/^NAME +STATE +LAST +TOOK +RESULT +NEXT +SCHEDULE +ERROR$/);
    expect(wide[3]).toMatch(/ {2}every 1d at 03:30 UTC {2}store\.corrupt: the database is/);
    expect(Math.max(...wide.map((text) => text.length))).toBeLessThanOrEqual(120);
    expect((await ctl(200, "show", "jobs")).out).toContain("archive.db: row 5 missing from index x");
  });

  it("has each field as JSON, and epoch seconds for programs", async () => {
    await clock.advance(HOUR);
    const [first, , , end] = ndjson((await ctl(null, "show", "jobs", "--json")).out);
    expect(first).toEqual({
      name: "retention",
      about: "deletes",
      schedule: "every 1h",
      state: "idle",
      last_at: "2026-11-20T05:00:00Z",
      last: {
        begun_at: "2026-11-20T05:00:00Z",
        ended_at: "2026-11-20T05:00:00Z",
        took_ms: 0,
        result: "ok",
        who: "schedule",
        error: null,
        detail: { raw_mails: 7, finished_envelopes: 0 },
      },
      next_at: "2026-11-20T06:00:00Z",
      runs: 1,
      failures: 0,
    });
    expect(end).toEqual({ end: { count: 3, next: null } });
    const plain = (await ctl(null, "show", "jobs")).out.split("\n")[0]!;
    const [at, next] = ["2026-11-20T05:00:00Z", "2026-11-20T06:00:00Z"].map((t) => Date.parse(t) / 1000);
    expect(plain).toBe(`retention|idle|${at}|0|ok|${next}|every 1h|`);
  });
});

describe("jobs run", () => {
  it("runs the job, waits for its end, prints what was done, and is audited with its reason", async () => {
    expect(await ctl(80, "jobs", "run", "retention", "--reason", "disk is full")).toEqual({
      code: 0,
      out: "retention: ok, took 0ms\n  raw mails: 7\n  finished envelopes: 0\n",
      err: "",
    });
    expect(audited).toEqual([["jobs run", { job: "retention", result: "ok", reason: "disk is full" }]]);
    const { out } = await ctl(null, "jobs", "run", "retention", "--json");
    expect(JSON.parse(out)).toMatchObject({
      job: "retention",
      dry_run: false,
      run: { result: "ok", who: "control socket" },
      detail: { raw_mails: 7 },
    });
  });

  it("with --dry-run tells what a run would do, and is not audited; of a job that cannot it is refused", async () => {
    expect(await ctl(80, "jobs", "run", "retention", "-n")).toMatchObject({
      code: 0,
      out: "retention: a run would do this\n  raw mails: 7\n",
    });
    expect(await ctl(80, "jobs", "run", "checkpoint", "-n")).toMatchObject({
      code: 64,
      err: "mailreportctl: the job cannot tell what it would do: checkpoint\n",
    });
    expect(audited).toEqual([]);
  });

  it("of a run that failed was 1 whatever the error: 75 when it may succeed later, else that of a request", async () => {
    work = async () => {
      throw new MailreportError("store.full", { detail: "queue.db" });
    };
    expect(await ctl(80, "jobs", "run", "retention")).toMatchObject({
      code: 75,
      out: "",
      err: "mailreportctl: retention failed: no space left for the database: queue.db (store.full)\n",
    });
    work = async () => {
      throw new MailreportError("store.corrupt", { detail: "archive.db" });
    };
    expect(await ctl(80, "jobs", "run", "retention")).toMatchObject({ code: 74 }); // as db prune
    expect(await ctl(80, "jobs", "run", "database-check")).toMatchObject({ code: 65 }); // as db check
  });

  it("of an unknown name is 64 and names the jobs; of one that runs it is 75, and neither is audited", async () => {
    expect(await ctl(80, "jobs", "run", "retenion")).toMatchObject({
      code: 64,
      err: "mailreportctl: no such job: retenion; the jobs are retention, checkpoint, database-check\n",
    });
    let end = (_: JobDetail): void => {};
    work = () =>
      new Promise((resolve) => {
        end = resolve;
      });
    const running = jobs.run("retention", "schedule");
    await settle();
    expect(await ctl(80, "jobs", "run", "retention")).toMatchObject({
      code: 75,
      err: "mailreportctl: the job is running: retention, since 2026-11-20T04:00:00Z (schedule)\n",
    });
    expect(audited).toEqual([]);
    end({});
    await running;
  });
});
