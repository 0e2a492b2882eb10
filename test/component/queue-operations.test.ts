/** What operators do to envelopes and the suppression list, on a real queue store and a fake clock. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { epochSeconds } from "../../src/lib/clock.ts";
import { outgoingId } from "../../src/model/outgoing.ts";
import { type EnvelopeService, makeEnvelopes } from "../../src/services/envelopes.ts";
import { Operations } from "../../src/services/operation.ts";
import { makeSuppressions, type SuppressionService } from "../../src/services/suppressions.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { counted, DAY, evaluation, newMessage } from "../support/events.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { type RecordedLog, recordedLog } from "../support/recorded-log.ts";
import { testConfig } from "../support/test-config.ts";

let dir: string;
let store: QueueStore;
let clock: FakeClock;
let envelopes: EnvelopeService;
let suppressions: SuppressionService;
let log: RecordedLog;
let audited: string[];
let woken: number;
let auditFault: Error | undefined;
const OPERATOR = { who: "control socket", reason: "why" };
const config = testConfig({ deliver: { expire: "6h" } });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "operations-"));
  store = openQueueStore(join(dir, "queue.db"));
  clock = new FakeClock("2026-11-20T04:00:00Z");
  audited = [];
  woken = 0;
  auditFault = undefined;
  log = recordedLog();
  const operations = new Operations({
    log,
    clock,
    events: loggedEvents(log, clock),
    audit: ({ command }) => {
      if (auditFault) throw auditFault;
      audited.push(command);
    },
    wake: () => {
      woken++;
    },
  });
  envelopes = makeEnvelopes(operations, { config: () => config, store, clock });
  suppressions = makeSuppressions(operations, { store, clock });
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
  it("are audited and wake delivery; a dry run does neither", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    for (const action of ["hold", "release", "schedule", "remove", "undelete"] as const) {
      const asked = { selection: { ids: [id] } };
      expect(await envelopes.actions[action].dryRun(asked, OPERATOR)).toMatchObject({ changed: 1 });
      expect(audited.at(-1)).not.toBe(action);
      expect(await envelopes.actions[action].run(asked, OPERATOR)).toMatchObject({ changed: 1 });
      expect(audited.at(-1)).toBe(action);
    }
    expect([audited.length, woken]).toEqual([5, 5]);
  });

  it("a command that changed nothing was audited as a change: it is not", async () => {
    const asked = { selection: { ids: ["0a0a0a0a00000001"] } };
    expect(await envelopes.actions.remove.run(asked, OPERATOR)).toMatchObject({ matched: 0, changed: 0 });
    expect(audited).toEqual([]);
  });

  it("a schedule in the past is refused", async () => {
    const asked = { selection: {}, at: epochSeconds(clock) - 61 };
    await expect(envelopes.actions.schedule.run(asked, OPERATOR)).rejects.toThrow(/in the past/);
  });

  it("requeue gives the configured lifetime", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    const now = epochSeconds(clock);
    store.leaseEnvelopes(now, 1, new Set());
    const reply = { at: now, host: null, ip: null, tls: null, code: 550, enhanced: null, text: "no" };
    store.settle(id, { result: "permanent", reply, durationMs: 1 }, { state: "failed", nextAt: now }, now);
    const asked = { selection: { ids: [id] } };
    expect(await envelopes.actions.requeue.run(asked, OPERATOR)).toMatchObject({ changed: 1 });
    expect(store.envelope(id)?.expiresAt).toBe(now + 6 * 3600);
  });
});

it("delivery is told of a change that could not be audited", async () => {
  const id = queue("0a0a0a0a", "a@one.example");
  auditFault = new Error("disk full");
  const asked = { selection: { ids: [id] } };
  expect(await envelopes.actions.hold.run(asked, OPERATOR)).toMatchObject({ changed: 1 });
  expect(woken).toBe(1);
  expect(log.of("unit.failed")).toMatchObject([{ unit: "audit", command: "hold" }]);
});

describe("the suppression list", () => {
  const add = (target: string, until: number | null = null) =>
    suppressions.add.run({ target, until }, OPERATOR);

  it.each([
    ["A.User@Example.COM", "a.user@example.com"],
    ["mailto:a@example.com", "a@example.com"],
    ["@Example.com.", "@example.com"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["https://Reports.example/In", "https://reports.example/in"],
  ])("takes %s as %s", async (typed, target) => {
    const { entry } = await add(typed);
    expect(entry).toMatchObject({ target, author: "operator", until: null, reason: "why" });
    expect(suppressions.lookup(typed).entries.map((entry) => entry.target)).toEqual([target]);
  });

  it.each([
    "",
    "@",
    "a@",
    "a b@example.com",
    "@example..com",
    "ftp://x.example/",
    "https://",
    "a@b@c",
    "*",
    "com",
  ])("refuses %j", async (typed) => {
    await expect(add(typed)).rejects.toMatchObject({ code: "suppression.bad_target" });
  });

  it("refuses an end in the past", async () => {
    await expect(add("a@one.example", epochSeconds(clock))).rejects.toThrow(/in the past/);
  });

  it("answers which entry applies to an address, the most specific first, and how many envelopes wait", async () => {
    queue("0a0a0a0a", "a@one.example");
    queue("0b0b0b0b", "b@one.example");
    expect(suppressions.lookup("a@one.example")).toEqual({ suppressed: false, entries: [], waiting: 1 });
    expect((await add("@one.example")).waiting).toBe(2);
    expect((await add("A@one.example")).waiting).toBe(1);
    expect((await add("example.com")).waiting).toBe(2);
    expect(suppressions.lookup("a@one.example").entries.map(({ target }) => target)).toEqual([
      "a@one.example",
      "@one.example",
    ]);
    expect(suppressions.lookup("two.example").suppressed).toBe(false);
  });

  it("no command lifted an entry: remove does, of either author; a dry run changes nothing", async () => {
    const now = epochSeconds(clock);
    store.suppress({
      target: "a@one.example",
      until: now + 9,
      reason: "550",
      author: "automatic",
      createdAt: now,
      step: 0,
    });
    await suppressions.add.dryRun({ target: "@two.example", until: null }, OPERATOR);
    expect(store.suppressions()).toHaveLength(1);
    await add("@two.example");
    const targets = ["A@one.example", "@two.example", "c@three.example"];
    const would = await suppressions.remove.dryRun(targets, OPERATOR);
    expect(would.removed.map(({ target }) => target)).toEqual(["a@one.example", "@two.example"]);
    expect(would.skipped).toEqual([{ id: "c@three.example", code: "suppression.none" }]);
    expect(store.suppressions()).toHaveLength(2);
    expect(await suppressions.remove.run(targets, OPERATOR)).toEqual(would);
    expect(store.suppressions()).toEqual([]);
    expect(audited).toEqual(["suppress add", "suppress remove"]);
  });

  it("removed each target in a commit of its own: thousands are one, and all or none", async () => {
    const targets = Array.from({ length: 3000 }, (_, n) => `a${n}@one.example`);
    for (const target of targets.slice(0, 2)) await add(target);
    const commits: (readonly string[])[] = [];
    const { unsuppress } = store;
    store.unsuppress = (given) => {
      commits.push(given);
      return unsuppress(given);
    };
    const { removed, skipped } = await suppressions.remove.run([...targets, "A0@one.example"], OPERATOR);
    expect(commits).toEqual([targets.slice(0, 2)]);
    expect([removed.length, skipped.length]).toEqual([2, 2998]);
    expect(store.suppressions()).toEqual([]);
  });

  it("lists what applies now, and with all what has expired", async () => {
    await add("a@one.example", epochSeconds(clock) + 60);
    clock.jump(61_000);
    expect(suppressions.list(false)).toEqual([]);
    expect(suppressions.list(true)).toHaveLength(1);
  });
});
