/** Faults while a feed's batch is counted: the batch is refused as a whole, and the next one is counted. */
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { ReportRun } from "../support/report-run.ts";

let run: ReportRun;
beforeEach(() => {
  run = new ReportRun();
});
afterEach(() => run.end());

/** A batch that opens a report, grows another and carries ids. */
function batch(prefix: string) {
  return [
    run.about("one.example", { id: `${prefix}1`, count: 2 }),
    run.about("two.example", { id: `${prefix}2` }),
    run.about("two.example", { id: `${prefix}3`, row: { sourceIp: "192.0.2.7" } }),
  ];
}

/** What a batch must leave when it is counted once, whatever happened before. */
function expectCountedOnce(): void {
  expect(run.states()).toEqual({ "one.example": "open", "two.example": "open" });
  expect(run.of("one.example")).toMatchObject({ messages: 2, rows: 1 });
  expect(run.of("two.example")).toMatchObject({ messages: 2, rows: 2 });
  expect(run.tallied()).toEqual({ rows: 3, count: 4 });
  expect(run.store.stats()).toMatchObject({
    "outgoing.open": 2,
    "outgoing.tally": 3,
    "outgoing.message": 4,
    "feed.accepted": 3,
    "feed.repeated": 0,
  });
}

describe("a batch that cannot be counted", () => {
  it("a full disk: nothing of it is counted, and all of it when it comes again", () => {
    const before = run.content();
    run.faults.count = () => {
      throw new MailreportError("store.full", { detail: "queue" });
    };
    expect(() => run.feed(...batch("a"))).toThrow(/no space left/);
    expect(run.content()).toBe(before);
    run.faults = {};
    expect(run.feed(...batch("a"))).toMatchObject({ counted: 3, repeated: 0 });
    expectCountedOnce();
  });

  it("a lock of another process: the same", () => {
    const other = new Database(run.path, { timeout: 0 });
    other.exec("BEGIN IMMEDIATE");
    expect(() => run.feed(...batch("a"))).toThrow(/locked by another process/);
    other.exec("ROLLBACK");
    other.close();
    expect(run.feed(...batch("a"))).toMatchObject({ counted: 3, repeated: 0 });
    expectCountedOnce();
  });

  it("an error in the middle of the transaction: its first half is undone, with what was remembered of it", () => {
    run.beside((database) =>
      database.exec(
        "CREATE TRIGGER fault BEFORE INSERT ON tally WHEN new.row LIKE '%192.0.2.7%' BEGIN SELECT RAISE(ABORT, 'fault'); END",
      ),
    );
    expect(() => run.feed(...batch("a"))).toThrow(/fault/);
    expect(run.reports()).toEqual([]);
    expect(run.tallied()).toEqual({ rows: 0, count: 0 });
    expect(run.feed(run.about("one.example", { count: 2, id: "a1" }))).toMatchObject({ counted: 1 });
    run.beside((database) => database.exec("DROP TRIGGER fault"));
    expect(run.feed(...batch("a").slice(1))).toMatchObject({ counted: 2, repeated: 0 });
    expectCountedOnce();
  });

  it("an exception before the transaction: the same", () => {
    run.faults.stats = () => {
      throw new TypeError("bug");
    };
    expect(() => run.feed(...batch("a"))).toThrow("bug");
    run.faults = {};
    expect(run.feed(...batch("a"))).toMatchObject({ counted: 3, repeated: 0 });
    expectCountedOnce();
  });
});

it("report.max_rows was read only at start: a reload applies it to reports that are open", () => {
  const rows = (n: number) =>
    Array.from({ length: n }, (_, i) =>
      run.about("one.example", { row: { sourceIp: "192.0.2.1", envelopeTo: `rx${i}.example` } }),
    );
  run.feed(...rows(60));
  expect(run.of("one.example").rows).toBe(60);
  run.reconfigure({ report: { max_rows: 20 } });
  run.feed(...rows(61));
  const merged = run.of("one.example").rows;
  expect(merged).toBeLessThanOrEqual(20);
  expect(run.of("one.example").messages).toBe(121);
  expect(run.tallied().count).toBe(121);
  run.reconfigure({ report: { max_rows: 100 } });
  run.feed(...rows(60));
  expect(run.of("one.example").rows).toBeGreaterThan(20);
  expect(run.tallied().count).toBe(181);
});
