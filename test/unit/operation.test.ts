/** The runner of operations: dry run, audit, waking and errors, for any operation. */
import { describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { type Definition, Operations, perform, type Wakeable } from "../../src/services/operation.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { recordedLog } from "../support/recorded-log.ts";

const CALLER = { who: "job nightly", reason: "they asked" };

/** A runner, what it did in order, and faults to inject. */
function runner() {
  const done: string[] = [];
  const rows: { who: string; command: string; detail: unknown; at: number }[] = [];
  const log = recordedLog();
  const faults: { audit?: unknown; wake?: unknown } = {};
  const operations = new Operations({
    log,
    clock: new FakeClock("2026-11-20T00:00:00Z"),
    events: loggedEvents(log),
    audit: ({ detail, ...row }) => {
      done.push("audit");
      if (faults.audit) throw faults.audit;
      rows.push({ ...row, detail: JSON.parse(detail) });
    },
    wake: (part: Wakeable) => {
      done.push(`wake ${part}`);
      if (faults.wake) throw faults.wake;
    },
  });
  const declare = (more: Partial<Definition<number, number, string>> = {}) =>
    operations.declare<number, number, string>({
      name: "double",
      plan: (n) => {
        done.push("plan");
        return `would be ${n * 2}`;
      },
      change: (n) => {
        done.push("change");
        return n * 2;
      },
      audited: (doubled, n) => ({ n, doubled }),
      wakes: ["delivery", "scheduler"],
      ...more,
    });
  return { operations, declare, done, rows, log, faults };
}

describe("an operation", () => {
  it("is changed, woken and audited once each, in this order, with who and why", async () => {
    const { declare, done, rows, log } = runner();
    expect(await declare().run(21, CALLER)).toBe(42);
    expect(done).toEqual(["change", "wake delivery", "wake scheduler", "audit"]);
    const detail = { n: 21, doubled: 42, reason: "they asked" };
    expect(rows).toEqual([{ at: 1_795_132_800, who: "job nightly", command: "double", detail }]);
    expect(log.lines).toEqual([
      {
        level: "info",
        event: "control.changed",
        fields: { command: "double", who: "job nightly", ...detail },
      },
    ]);
  });

  it("a dry run acted: it only plans, and audits and wakes nothing", async () => {
    const { declare, done, log } = runner();
    const operation = declare();
    expect(await operation.dryRun(21, CALLER)).toBe("would be 42");
    expect(await perform(operation, 21, CALLER, true)).toBe("would be 42");
    expect(done).toEqual(["plan", "plan"]);
    expect(log.lines).toEqual([]);
  });

  it("without a plan acted in a dry run: that is refused with its name", async () => {
    const { declare, done } = runner();
    await expect(perform(declare({ plan: null }), 21, CALLER, true)).rejects.toMatchObject({
      code: "request.invalid",
      detail: "double has no dry run",
    });
    expect(done).toEqual([]);
  });

  it("that changed nothing was audited: it is not", async () => {
    const { declare, rows, log } = runner();
    expect(await declare({ audited: () => null }).run(0, CALLER)).toBe(0);
    expect([rows, log.lines]).toEqual([[], []]);
  });

  it("has the command of its request in the audit", async () => {
    const { declare, rows } = runner();
    await declare({ command: (n) => `double ${n}` }).run(3, CALLER);
    expect(rows).toMatchObject([{ command: "double 3" }]);
  });

  it("that failed was audited as done: it is not, but what it may have begun is woken", async () => {
    const { declare, done, rows, log } = runner();
    const failing = declare({
      change: () => {
        throw new MailreportError("store.full");
      },
    });
    await expect(failing.run(1, CALLER)).rejects.toMatchObject({ code: "store.full" });
    expect(done).toEqual(["wake delivery", "wake scheduler"]);
    expect([rows, log.lines]).toEqual([[], []]); // the caller's unit logs it
  });

  it.each(["plan", "change"] as const)(
    "with a bug in its %s threw it bare: it has its place in the catalogue, with its cause",
    async (part) => {
      const { declare } = runner();
      const bug = new TypeError("x is not a function");
      const operation = declare({ [part]: () => Promise.reject(bug) });
      await expect(perform(operation, 1, CALLER, part === "plan")).rejects.toMatchObject({
        code: "daemon.bug",
        cause: bug,
      });
    },
  );

  it("that ends in the middle was not audited at all: its parts are, then its error is thrown", async () => {
    const { declare, rows } = runner();
    const partly = declare({ failure: (n) => (n > 10 ? new MailreportError("store.busy") : null) });
    expect(await partly.run(2, CALLER)).toBe(4);
    await expect(partly.run(21, CALLER)).rejects.toMatchObject({ code: "store.busy" });
    expect(rows).toMatchObject([{ detail: { doubled: 4 } }, { detail: { doubled: 42 } }]);
  });
});

describe("a change that is done was told as failed", () => {
  it("when its audit failed: the log has both", async () => {
    const { declare, faults, log } = runner();
    faults.audit = new MailreportError("store.full");
    expect(await declare().run(21, CALLER)).toBe(42);
    expect(log.of("control.changed")).toHaveLength(1);
    expect(log.of("unit.failed")).toMatchObject([
      { unit: "audit", command: "double", who: "job nightly", code: "store.full" },
    ]);
  });

  it("when its audit entry could not be made", async () => {
    const { declare, log } = runner();
    const operation = declare({
      audited: () => {
        throw new TypeError("bug");
      },
    });
    expect(await operation.run(21, CALLER)).toBe(42);
    expect(log.of("unit.failed")).toMatchObject([{ unit: "audit", stack: expect.stringContaining("bug") }]);
  });

  it("when a wake failed: the others are woken, and it is audited", async () => {
    const { declare, faults, done, rows, log } = runner();
    faults.wake = new TypeError("bug");
    expect(await declare().run(21, CALLER)).toBe(42);
    expect(done).toEqual(["change", "wake delivery", "wake scheduler", "audit"]);
    expect(rows).toHaveLength(1);
    expect(log.of("unit.failed")).toMatchObject([{ part: "delivery" }, { part: "scheduler" }]);
  });

  it("but a store that does not sync its commits is an error at once", async () => {
    const { declare, faults } = runner();
    faults.audit = new MailreportError("store.not_durable");
    await expect(declare().run(21, CALLER)).rejects.toMatchObject({ code: "store.not_durable" });
  });
});

it("two operations of one name are a bug; the names are listed", () => {
  const { operations, declare } = runner();
  declare();
  declare({ name: "halve" });
  expect(operations.names).toEqual(["double", "halve"]);
  expect(() => declare()).toThrow("two operations are named double");
});
