/** What operators do to envelopes and the suppression list, on a real queue store and a fake clock. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type EnvelopeOperations, makeEnvelopeOperations } from "../../src/deliver/operations.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import { outgoingId } from "../../src/model/outgoing.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { counted, DAY, evaluation, newMessage } from "../support/events.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { testConfig } from "../support/test-config.ts";

let dir: string;
let store: QueueStore;
let clock: FakeClock;
let operations: EnvelopeOperations;
let audited: string[];
let woken: number;
let auditFault: Error | undefined;
const config = testConfig({ deliver: { expire: "6h" } });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "operations-"));
  store = openQueueStore(join(dir, "queue.db"));
  clock = new FakeClock("2026-11-20T04:00:00Z");
  audited = [];
  woken = 0;
  auditFault = undefined;
  operations = makeEnvelopeOperations({
    config: () => config,
    store,
    clock,
    audit: (command) => {
      if (auditFault) throw auditFault;
      audited.push(command);
    },
    wake: () => {
      woken++;
    },
  });
});

afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true, force: true });
});

function queue(id: string, rcpt: string): string {
  const hash = id.padStart(16, "0");
  store.count("f", [counted(evaluation(), { policyHash: hash })], DAY);
  const outgoing = outgoingId("dmarc", "example.com", hash, DAY);
  const now = epochSeconds(clock);
  store.compose(outgoing, [newMessage(id, [rcpt], now, outgoing)], now, null);
  return `${id}00000001`;
}

describe("actions on envelopes", () => {
  it("are audited and wake delivery; a dry run does neither", () => {
    const id = queue("0a0a0a0a", "a@one.example");
    for (const action of ["hold", "release", "schedule", "remove", "undelete"] as const) {
      expect(operations.change(action, { ids: [id] }, { dryRun: true })).toMatchObject({ changed: 1 });
      expect(audited.at(-1)).not.toBe(action);
      expect(operations.change(action, { ids: [id] }, { dryRun: false })).toMatchObject({ changed: 1 });
      expect(audited.at(-1)).toBe(action);
    }
    expect([audited.length, woken]).toEqual([5, 5]);
  });

  it("requeue gives the configured lifetime", () => {
    const id = queue("0a0a0a0a", "a@one.example");
    const now = epochSeconds(clock);
    store.leaseEnvelopes(now, 1, new Set());
    const reply = { at: now, host: null, ip: null, tls: null, code: 550, enhanced: null, text: "no" };
    store.settle(id, { result: "permanent", reply, durationMs: 1 }, { state: "failed", nextAt: now }, now);
    expect(operations.change("requeue", { ids: [id] }, { dryRun: false })).toMatchObject({ changed: 1 });
    expect(store.envelope(id)?.expiresAt).toBe(now + 6 * 3600);
  });
});

it("delivery is told of a change that could not be audited", () => {
  const id = queue("0a0a0a0a", "a@one.example");
  auditFault = new Error("disk full");
  expect(() => operations.change("hold", { ids: [id] }, { dryRun: false })).toThrow("disk full");
  expect(woken).toBe(1);
});

describe("the suppression list", () => {
  const add = (target: string, more: { until?: number | null; dryRun?: boolean } = {}) =>
    operations.suppress({ target, until: null, reason: "why", dryRun: false, ...more });

  it.each([
    ["A.User@Example.COM", "a.user@example.com"],
    ["mailto:a@example.com", "a@example.com"],
    ["@Example.com.", "@example.com"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["https://Reports.example/In", "https://reports.example/in"],
  ])("takes %s as %s", (typed, target) => {
    expect(add(typed).entry).toMatchObject({ target, author: "operator", until: null });
    expect(operations.lookup(typed).entries.map((entry) => entry.target)).toEqual([target]);
  });

  it.each(["", "@", "a@", "a b@example.com", "@example..com", "ftp://x.example/", "https://", "a@b@c", "*"])(
    "refuses %j",
    (typed) => {
      expect(() => add(typed)).toThrow(expect.objectContaining({ code: "suppression.bad_target" }));
    },
  );

  it("refuses an end in the past", () => {
    expect(() => add("a@one.example", { until: epochSeconds(clock) })).toThrow(/in the past/);
  });

  it("answers which entry applies to an address, the most specific first, and how many envelopes wait", () => {
    queue("0a0a0a0a", "a@one.example");
    queue("0b0b0b0b", "b@one.example");
    expect(operations.lookup("a@one.example")).toEqual({ suppressed: false, entries: [], waiting: 1 });
    expect(add("@one.example").waiting).toBe(2);
    expect(add("A@one.example").waiting).toBe(1);
    expect(add("example.com").waiting).toBe(2);
    expect(operations.lookup("a@one.example").entries.map(({ target }) => target)).toEqual([
      "a@one.example",
      "@one.example",
    ]);
    expect(operations.lookup("two.example").suppressed).toBe(false);
  });

  it("no command lifted an entry: remove does, of either author; a dry run changes nothing", () => {
    const now = epochSeconds(clock);
    store.suppress({
      target: "a@one.example",
      until: now + 9,
      reason: "550",
      author: "automatic",
      createdAt: now,
      step: 0,
    });
    add("@two.example", { dryRun: true });
    expect(store.suppressions()).toHaveLength(1);
    add("@two.example");
    const targets = ["A@one.example", "@two.example", "c@three.example"];
    const would = operations.unsuppress(targets, true);
    expect(would.removed.map(({ target }) => target)).toEqual(["a@one.example", "@two.example"]);
    expect(would.skipped).toEqual([{ id: "c@three.example", code: "suppression.none" }]);
    expect(store.suppressions()).toHaveLength(2);
    expect(operations.unsuppress(targets, false)).toEqual(would);
    expect(store.suppressions()).toEqual([]);
    expect(audited).toEqual(["suppress add", "suppress remove"]);
  });

  it("removed each target in a commit of its own: thousands are one, and all or none", () => {
    const targets = Array.from({ length: 3000 }, (_, n) => `a${n}@one.example`);
    for (const target of targets.slice(0, 2)) add(target);
    const commits: (readonly string[])[] = [];
    const { unsuppress } = store;
    store.unsuppress = (given) => {
      commits.push(given);
      return unsuppress(given);
    };
    const { removed, skipped } = operations.unsuppress([...targets, "A0@one.example"], false);
    expect(commits).toEqual([targets.slice(0, 2)]);
    expect([removed.length, skipped.length]).toEqual([2, 2998]);
    expect(store.suppressions()).toEqual([]);
  });

  it("lists what applies now, and with all what is over", () => {
    add("a@one.example", { until: epochSeconds(clock) + 60 });
    clock.jump(61_000);
    expect(operations.suppressions(false)).toEqual([]);
    expect(operations.suppressions(true)).toHaveLength(1);
  });
});
