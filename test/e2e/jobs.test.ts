/** The periodic jobs of the built daemon: what they are, a run of each, and their state after a restart. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ndjson, TestDaemon } from "../support/daemon.ts";

describe("the jobs of the daemon", () => {
  let d: TestDaemon;
  beforeEach(async () => {
    d = await new TestDaemon().start();
  });
  afterEach(async () => {
    await d.stop();
    d.remove();
  });

  const list = () =>
    Object.fromEntries(
      ndjson(d.ctl("show", "jobs", "--json").stdout)
        .filter((item) => "name" in item)
        .map((item) => [item.name, item]),
    ) as Record<string, Record<string, unknown>>;
  const run = (...args: string[]) => {
    const ran = d.ctl("jobs", "run", ...args);
    expect(ran.code, ran.stderr).toBe(0);
    return ran.stdout;
  };

  it("are listed with their schedule, run when asked, and keep their state over a restart", async () => {
    const before = list();
    expect(Object.keys(before)).toEqual(["retention", "checkpoint", "database-check"]);
    for (const job of Object.values(before)) expect(job).toMatchObject({ state: "scheduled", last: null });
    expect(before["database-check"]).toMatchObject({ schedule: "every 1d at 03:30 UTC" });
    expect(run("retention", "--dry-run")).toMatch(/^retention: a run would do this\n {2}raw mails: 0$/m);
    expect(run("retention", "--reason", "a test")).toMatch(/^retention: ok, took /);
    expect(run("checkpoint")).toMatch(/^checkpoint: ok, took /);
    expect(run("database-check")).toMatch(/^database-check: ok, took .*\n {2}problems: 0$/m);
    await d.stop();
    expect(d.events("control.changed")[0]).toMatchObject({
      command: "jobs run",
      job: "retention",
      reason: "a test",
    });
    expect(d.events("job.finished").map(({ job }) => job)).toEqual(Object.keys(before));
    await d.start();
    for (const job of Object.values(list()))
      expect(job).toMatchObject({ state: "idle", runs: 1, last: { result: "ok", who: "control socket" } });
    expect(d.stats()).toMatchObject({ "event.daemon.ready": 1, "event.job.finished": 0 });
  });

  it("db prune was a second way to delete: it is a run of the job", () => {
    expect(d.ctl("db", "prune", "--yes").code).toBe(0);
    expect(list().retention).toMatchObject({ state: "scheduled" }); // there was nothing to delete
    run("retention");
    expect(list().retention).toMatchObject({ runs: 1, last: { who: "control socket" } });
  });

  it("damage of a database that nobody looked at was not seen: the check tells it", async () => {
    await d.stop();
    const database = new Database(join(d.dir, "var", "queue.db"));
    database.pragma("foreign_keys = OFF");
    database.exec("INSERT INTO outgoing_sum (outgoing, merge_at) VALUES (999, 1)"); // of no report
    database.close();
    await d.start();
    const ran = d.ctl("jobs", "run", "database-check");
    expect(ran).toMatchObject({
      code: 65,
      stderr: expect.stringMatching(/damaged: queue\.db: 1 rows refer to missing ones/),
    });
    expect(list()["database-check"]).toMatchObject({
      state: "failed",
      last: { error: { code: "store.corrupt" } },
    });
    expect(d.ctl("ping").code).toBe(0);
    await d.stop();
    expect(d.events("unit.failed")).toMatchObject([
      { level: "error", unit: "job", job: "database-check", code: "store.corrupt" },
    ]);
  });
});
