/** The queue store on real SQLite: counting, states, leases, lists, and what survives a new start. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { outgoingId, type TallyRow } from "../../src/model/outgoing.ts";
import type { LastReply } from "../../src/model/queue.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { migrate } from "../../src/store/sqlite/migrate.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { QUEUE_MIGRATIONS } from "../../src/store/sqlite/queue/schema.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { counted, DAY, evaluation, HASH, newMessage, OUTGOING, row, sessions } from "../support/events.ts";

const NOW = DAY + 7200;
const NONE: ReadonlySet<string> = new Set();

let dir: string;
let store: QueueStore;

const open = (maxRows?: number): QueueStore =>
  openQueueStore(join(dir, "queue.db"), maxRows === undefined ? {} : { maxRows: () => maxRows });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "queue-"));
  store = open();
});

afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true, force: true });
});

function reopen(maxRows?: number): void {
  store.close();
  store = open(maxRows);
}

function sumOf(rows: readonly TallyRow[]): number {
  return rows.reduce(
    (sum, each) => sum + (each.kind === "dmarc" ? each.count : each.success + each.failure),
    0,
  );
}

function reply(more: Partial<LastReply> = {}): LastReply {
  return {
    at: NOW,
    host: "mx.example.com",
    ip: "192.0.2.1",
    tls: "TLSv1.3",
    code: 250,
    enhanced: "2.0.0",
    text: "ok",
    ...more,
  };
}

/** Puts one composed message with envelopes into the queue. */
function queue(id: string, rcpts: readonly string[], nextAt = NOW): void {
  store.count("f", [counted(evaluation(), { policyHash: id.padStart(16, "0") })], NOW);
  const outgoing = outgoingId("dmarc", "example.com", id.padStart(16, "0"), DAY);
  store.compose(outgoing, [newMessage(id, rcpts, nextAt, outgoing)], NOW, null);
}

describe("counting", () => {
  it("adds equal evaluations up in one row and keeps different ones apart", () => {
    const other = evaluation({ row: { headerFrom: "news.example.com" }, count: 3 });
    const result = store.count(
      "f",
      [evaluation(), evaluation({ count: 4 }), other].map((e) => counted(e)),
      NOW,
    );
    expect(result).toEqual({ counted: 3, repeated: 0, opened: [OUTGOING] });
    expect(store.tallies(OUTGOING)).toEqual([
      { kind: "dmarc", row: row(), count: 5 },
      { kind: "dmarc", row: row({ headerFrom: "news.example.com" }), count: 3 },
    ]);
    expect(store.outgoing(OUTGOING)).toMatchObject({
      state: "open",
      rows: 2,
      messages: 8,
      reportable: 8,
      wanted: 8,
    });
  });

  it("counts an event once per feed and id, also after a restart, and forgets ids after three days", () => {
    const event = counted(evaluation({ id: "mx1/1" }));
    expect(store.count("f", [event, event], NOW)).toMatchObject({ counted: 1, repeated: 1 });
    reopen();
    expect(store.count("f", [event], NOW + 86_400)).toMatchObject({ counted: 0, repeated: 1 });
    expect(store.count("g", [event], NOW)).toMatchObject({ counted: 1, repeated: 0 });
    store.count("f", [counted(evaluation({ id: "other" }))], NOW + 4 * 86_400);
    expect(store.count("f", [event], NOW + 4 * 86_400)).toMatchObject({ counted: 1, repeated: 0 });
  });

  it("counts sessions by policy and failure detail", () => {
    store.count("f", [counted(sessions()), counted(sessions())], NOW);
    const id = outgoingId("tls", "example.com", HASH, DAY);
    const [first] = store.tallies(id);
    expect(first).toMatchObject({ success: 4, failure: 2, details: [{ count: 2 }] });
    expect(store.outgoing(id)).toMatchObject({ rows: 2, messages: 6 });
  });

  it("tells optional mail, spam that passed, and late events apart", () => {
    store.count(
      "f",
      [
        counted(evaluation({ optional: true, count: 10 })),
        counted(evaluation({ spam: true, count: 5 })),
        counted(evaluation({ spam: true, row: { dkimAligned: false } })),
        counted(evaluation(), { late: true }),
      ],
      NOW,
      2,
    );
    expect(store.outgoing(OUTGOING)).toMatchObject({ messages: 17, reportable: 7, wanted: 2, lateEvents: 1 });
    expect(store.stats()).toMatchObject({ "feed.accepted": 4, "feed.rejected": 2, "feed.late": 1 });
  });

  it("keeps the rua that was seen last", () => {
    store.count("f", [counted(evaluation())], NOW);
    store.count("f", [counted(evaluation({ rua: ["mailto:new@example.com"] }))], NOW);
    expect(store.outgoingPolicy(OUTGOING)).toMatchObject({ rua: ["mailto:new@example.com"] });
  });

  it("leaves nothing of a batch that fails", () => {
    store.count("f", [counted(evaluation({ id: "a" }))], NOW);
    store.dropOutgoing(OUTGOING, "cancelled", NOW);
    const before = store.stats();
    const next = counted(evaluation({ id: "b" }), { begin: DAY + 86_400 });
    expect(() => store.count("f", [next, counted(evaluation({ id: "c" }))], NOW)).toThrow(/closed/);
    expect(store.stats()).toEqual(before);
    expect(store.count("f", [next], NOW)).toMatchObject({ counted: 1, repeated: 0 });
  });

  it("never loses a count when rows are merged", () => {
    const words = fc.constantFrom("a.example", "b.example", "c.example", "d.example", "e.example");
    const events = fc.array(
      fc.record({
        ip: fc.integer({ min: 1, max: 6 }),
        from: words,
        to: words,
        selector: fc.integer({ min: 1, max: 30 }),
        count: fc.integer({ min: 1, max: 1000 }),
      }),
      { minLength: 1, maxLength: 120 },
    );
    let hash = 0;
    reopen(10);
    fc.assert(
      fc.property(events, (list) => {
        const policyHash = String(++hash).padStart(16, "0");
        const batch = list.map(({ ip, from, to, selector, count }) =>
          counted(
            evaluation({
              count,
              row: {
                sourceIp: `192.0.2.${ip}`,
                envelopeFrom: from,
                envelopeTo: to,
                dkim: [
                  { domain: "example.com", selector: `s${selector}`, result: "pass", humanResult: null },
                ],
              },
            }),
            { policyHash },
          ),
        );
        for (let i = 0; i < batch.length; i += 7) store.count("f", batch.slice(i, i + 7), NOW);
        const id = outgoingId("dmarc", "example.com", policyHash, DAY);
        const rows = store.tallies(id);
        const sum = list.reduce((total, each) => total + each.count, 0);
        expect(sumOf(rows)).toBe(sum);
        expect(store.outgoing(id)).toMatchObject({ messages: sum, rows: rows.length });
        expect(new Set(rows.map((each) => JSON.stringify(each.kind === "dmarc" && each.row))).size).toBe(
          rows.length,
        );
      }),
      { numRuns: 60 },
    );
    const tallies = store.listOutgoing({}, { limit: 1000 }).items.reduce((sum, each) => sum + each.rows, 0);
    expect(store.stats()["outgoing.tally"]).toBe(tallies);
  });

  it("says in a merged row that details are gone, and keeps big rows as they are", () => {
    reopen(10);
    const big = counted(evaluation({ count: 1000 }));
    const small = Array.from({ length: 20 }, (_, i) =>
      counted(evaluation({ row: { sourceIp: "192.0.2.99", envelopeTo: `d${i}.example` } })),
    );
    store.count("f", [big, ...small], NOW);
    const rows = store.tallies(OUTGOING);
    expect(rows.length).toBeLessThanOrEqual(10);
    expect(rows).toContainEqual({ kind: "dmarc", row: row(), count: 1000 });
    expect(JSON.stringify(rows)).toContain("details merged");
  });

  it("merges failure details of sessions, not the sessions", () => {
    reopen(10);
    const [policy] = sessions().policies;
    for (let i = 0; i < 30; i++) {
      const detail = {
        ...policy!.details[0]!.detail,
        receivingIp: `198.51.100.${i}`,
        additionalInformation: `n${i}`,
      };
      store.count(
        "f",
        [counted(sessions({ policies: [{ ...policy!, details: [{ detail, count: 1 }] }] }))],
        NOW,
      );
    }
    const [tally] = store.tallies(outgoingId("tls", "example.com", HASH, DAY));
    expect(tally).toMatchObject({ success: 60, failure: 30 });
    const details = tally?.kind === "tls" ? tally.details : [];
    expect(details.reduce((sum, each) => sum + each.count, 0)).toBe(30);
    expect(details.length).toBeLessThanOrEqual(10);
  });
});

describe("outgoing reports", () => {
  beforeEach(() => void store.count("f", [counted(evaluation({ count: 2 }))], NOW));

  it("are due in order, and a held one is not", () => {
    expect(store.nextOutgoingDue()).toBe(DAY + 86_700);
    expect(store.dueOutgoing(DAY + 86_699, 10)).toEqual([]);
    expect(store.dueOutgoing(DAY + 86_700, 10).map((each) => each.id)).toEqual([OUTGOING]);
    expect(store.holdOutgoing(OUTGOING, true)).toBe(true);
    expect(store.holdOutgoing(OUTGOING, true)).toBe(false);
    expect(store.nextOutgoingDue()).toBeUndefined();
    expect(store.stats()).toMatchObject({ "outgoing.open": 0, "outgoing.held": 1 });
  });

  it("wait longer when DNS fails", () => {
    store.deferOutgoing(OUTGOING, DAY + 90_000, "SERVFAIL");
    expect(store.outgoing(OUTGOING)).toMatchObject({
      due: DAY + 90_000,
      resolveAttempts: 1,
      lastError: "SERVFAIL",
    });
  });

  it("tell up to where a period is closed", () => {
    const until = () => store.closedUntil("dmarc", "example.com", HASH, DAY, DAY + 86_399);
    expect(until()).toBeUndefined();
    expect(store.closeOutgoing(OUTGOING, DAY + 5000, DAY + 5000)).toMatchObject({
      end: DAY + 5000,
      closed: true,
    });
    expect(until()).toBe(DAY + 5000);
    expect(store.closedUntil("dmarc", "example.com", HASH, DAY + 86_400, DAY + 172_799)).toBeUndefined();
    expect(store.closedUntil("dmarc", "example.com", "ffffffffffffffff", DAY, DAY + 86_399)).toBeUndefined();
    expect(store.closedUntil("dmarc", "example.com", HASH, DAY, DAY + 3599)).toBe(DAY + 3599);
    store.dropOutgoing(OUTGOING, "no-rua", NOW);
    expect(until()).toBe(DAY + 5000);
  });

  it("become messages and lose their tallies in one step, once", () => {
    store.compose(OUTGOING, [newMessage("0a0a0a0a", ["r@example.com"], NOW)], NOW, "a note");
    expect(store.tallies(OUTGOING)).toEqual([]);
    expect(store.outgoing(OUTGOING)).toMatchObject({
      state: "composed",
      composedAt: NOW,
      messageIds: ["0a0a0a0a"],
      messages: 2,
    });
    expect(store.rawMessage("0a0a0a0a")).toEqual(Buffer.from("bytes"));
    expect(store.message("0a0a0a0a")).toEqual(newMessage("0a0a0a0a", [], NOW).message);
    expect(() => store.compose(OUTGOING, [], NOW, null)).toThrow(MailreportError);
    expect(store.stats()).toMatchObject({
      "outgoing.open": 0,
      "outgoing.composed": 1,
      "outgoing.tally": 0,
      "outgoing.message": 0,
      "outgoing.message.composed": 2,
      "queue.message": 1,
      "queue.envelope.pending": 1,
    });
  });

  it("stay whole when composing fails half-way", () => {
    const messages = [
      newMessage("0a0a0a0a", ["r@example.com"], NOW),
      newMessage("0a0a0a0a", ["s@example.com"], NOW),
    ];
    expect(() => store.compose(OUTGOING, messages, NOW, null)).toThrow(MailreportError);
    expect(store.outgoing(OUTGOING)).toMatchObject({ state: "open", rows: 1 });
    expect(store.tallies(OUTGOING)).toHaveLength(1);
    expect(store.message("0a0a0a0a")).toBeUndefined();
    expect(store.stats()).toMatchObject({ "queue.message": 0, "outgoing.open": 1 });
  });

  it("are listed by page, and found by a part of their id", () => {
    for (let i = 0; i < 5; i++) {
      store.count(
        "f",
        [counted(evaluation({ policy: { ...evaluation().policy, domain: `d${i}.example.org` } }))],
        NOW,
      );
    }
    const first = store.listOutgoing({}, { limit: 4 });
    const second = store.listOutgoing({}, { limit: 4, after: first.next! });
    expect([...first.items, ...second.items]).toHaveLength(6);
    expect(second.next).toBeNull();
    const below = store.listOutgoing({ domain: "*.example.org" }, { limit: 100 });
    expect(below.items).toHaveLength(5);
    expect(store.listOutgoing({ states: ["held"] }, { limit: 100 }).items).toEqual([]);
    expect(store.findOutgoing("dmarc", "example.com", null, null).map((each) => each.id)).toEqual([OUTGOING]);
    expect(store.findOutgoing("dmarc", "example.com", HASH, DAY + 1)).toEqual([]);
  });

  it("are deleted some time after they ended, and after their tallies", () => {
    store.dropOutgoing(OUTGOING, "no-rua", NOW);
    expect(store.pruneOutgoing(NOW, 100)).toBe(0);
    expect(store.pruneOutgoing(NOW + 1, 100)).toBe(0);
    expect(store.countFinished(NOW + 1, NOW + 1)).toEqual({ envelopes: 0, reports: 0 });
    while (store.purgeTallies(NOW, 0, 100) > 0);
    expect(store.countFinished(NOW, NOW)).toEqual({ envelopes: 0, reports: 0 });
    expect(store.countFinished(NOW, NOW + 1)).toEqual({ envelopes: 0, reports: 1 });
    expect(store.pruneOutgoing(NOW + 1, 100)).toBe(1);
    expect(store.outgoing(OUTGOING)).toBeUndefined();
  });
});

describe("envelopes", () => {
  it("are leased when due, past destinations that are skipped, and settled once", () => {
    queue("0a0a0a0a", ["a@one.example", "b@two.example"], NOW);
    queue("0b0b0b0b", ["c@one.example"], NOW + 100);
    expect(store.nextEnvelopeDue()).toBe(NOW);
    expect(store.nextEnvelopeDue(new Set(["one.example"]))).toBe(NOW);
    expect(store.nextEnvelopeDue(new Set(["one.example", "two.example"]))).toBeUndefined();
    const leased = store.leaseEnvelopes(NOW, 10, new Set(["one.example"]));
    expect(leased).toMatchObject([
      { rcpt: "b@two.example", state: "inflight", attempts: 1, messageId: "0a0a0a0a" },
    ]);
    expect(store.leaseEnvelopes(NOW, 10, new Set(["one.example"]))).toEqual([]);
    const outcome = { result: "delivered", reply: reply(), durationMs: 12 } as const;
    store.settle(leased[0]!.id, outcome, { state: "delivered", nextAt: NOW }, NOW);
    store.settle(leased[0]!.id, outcome, { state: "failed", nextAt: NOW }, NOW);
    expect(store.envelope(leased[0]!.id)).toMatchObject({ state: "delivered", last: reply() });
    expect(store.attempts(leased[0]!.id)).toEqual([{ ...reply(), result: "delivered", durationMs: 12 }]);
    expect(store.stats()).toMatchObject({
      "queue.delivered": 1,
      "queue.failed": 0,
      "queue.envelope.pending": 2,
    });
  });

  it("that were in flight are pending after a restart, with their attempt counted", () => {
    queue("0a0a0a0a", ["a@one.example"]);
    store.leaseEnvelopes(NOW, 10, NONE);
    reopen();
    expect(store.stats()).toMatchObject({ "queue.envelope.inflight": 1 });
    expect(store.recoverInflight(NOW)).toBe(1);
    expect(store.listEnvelopes({}, { limit: 10 }).items).toMatchObject([{ state: "pending", attempts: 1 }]);
    expect(store.stats()).toMatchObject({ "queue.envelope.inflight": 0, "queue.envelope.pending": 1 });
  });

  it("go back untouched when they are released", () => {
    queue("0a0a0a0a", ["a@one.example"]);
    const [leased] = store.leaseEnvelopes(NOW, 10, NONE);
    store.releaseEnvelopes([leased!.id, "ffffffffffffffff"]);
    expect(store.envelope(leased!.id)).toMatchObject({ state: "pending", attempts: 0 });
  });

  it("remember their last twenty attempts", () => {
    queue("0a0a0a0a", ["a@one.example"]);
    for (let i = 1; i <= 25; i++) {
      const [leased] = store.leaseEnvelopes(NOW, 10, NONE);
      const outcome = {
        result: "temporary",
        reply: reply({ code: 450, text: `try ${i}` }),
        durationMs: 1,
      } as const;
      store.settle(leased!.id, outcome, { state: "pending", nextAt: NOW }, NOW);
    }
    const attempts = store.attempts("0a0a0a0a00000001");
    expect(attempts).toHaveLength(20);
    expect(attempts.at(-1)?.text).toBe("try 25");
  });

  const SELECTIONS = [
    ["by message id", { ids: ["0a0a0a0a"] }, 2],
    ["by envelope id", { ids: ["0a0a0a0a00000002"] }, 1],
    ["by address", { rcpt: "a@one.example" }, 1],
    ["by the address's domain, not its look-alikes", { rcpt: "@one.example" }, 2],
    ["by policy domain", { domain: "example.com" }, 4],
    ["by domains below", { domain: "*.com" }, 4],
    ["by another domain", { domain: "xample.com" }, 0],
    ["by due time", { dueBefore: NOW + 1 }, 2],
    ["by later due time", { dueAfter: NOW + 1 }, 2],
    ["by kind", { kind: "tls" }, 0],
    ["by state", { states: ["held"] }, 0],
    ["by text that looks like SQL", { rcpt: "' OR 1=1 --" }, 0],
  ] as const;
  it.each(SELECTIONS)("are selected %s", (_, selection, n) => {
    queue("0a0a0a0a", ["a@one.example", "b@two.example"], NOW);
    queue("0b0b0b0b", ["c@one.example", "d@notone.example"], NOW + 100);
    expect(store.countEnvelopes(selection)).toBe(n);
    expect(store.listEnvelopes(selection, { limit: 100 }).items).toHaveLength(n);
  });

  it("are held, released, scheduled and removed by selection, in flight ones are skipped", () => {
    queue("0a0a0a0a", ["a@one.example", "b@two.example"], NOW);
    queue("0b0b0b0b", ["c@one.example"], NOW + 100);
    const [leased] = store.leaseEnvelopes(NOW, 1, NONE);
    const held = store.holdEnvelopes({}, true);
    expect(held).toEqual({ matched: 3, changed: 2, skipped: [{ id: leased!.id, code: "inflight" }] });
    expect(store.stats()).toMatchObject({ "queue.envelope.held": 2, "queue.envelope.pending": 0 });
    expect(store.holdEnvelopes({ ids: ["0b0b0b0b"] }, false)).toMatchObject({ matched: 1, changed: 1 });
    expect(store.scheduleEnvelopes({ ids: ["0b0b0b0b"] }, NOW + 5, NOW)).toMatchObject({ changed: 1 });
    expect(store.envelope("0b0b0b0b00000001")).toMatchObject({ nextAt: NOW + 5, state: "pending" });
    expect(store.removeEnvelopes({}, NOW)).toMatchObject({ matched: 3, changed: 2 });
    const again = store.removeEnvelopes({ ids: ["0b0b0b0b00000001"] }, NOW);
    expect(again).toEqual({ matched: 1, changed: 0, skipped: [{ id: "0b0b0b0b00000001", code: "removed" }] });
    expect(store.stats()).toMatchObject({
      "queue.removed": 2,
      "queue.envelope.held": 0,
      "queue.envelope.pending": 0,
      "queue.envelope.inflight": 1,
    });
  });

  it("a schedule extended the life of an envelope: it does not, and one that is over may be tried now", () => {
    queue("0a0a0a0a", ["a@one.example"], NOW);
    const { id, expiresAt } = store.listEnvelopes({}, { limit: 1 }).items[0]!;
    const skipped = [{ id, code: "expires_before" }];
    expect(store.scheduleEnvelopes({}, expiresAt + 1, NOW)).toEqual({ matched: 1, changed: 0, skipped });
    expect(store.envelope(id)).toMatchObject({ nextAt: NOW, expiresAt });
    expect(store.scheduleEnvelopes({}, expiresAt, NOW)).toMatchObject({ changed: 1, skipped: [] });
    expect(store.envelope(id)).toMatchObject({ nextAt: expiresAt, expiresAt });
    const late = expiresAt + 100;
    expect(store.scheduleEnvelopes({}, late, late)).toMatchObject({ changed: 1 });
    expect(store.envelope(id)).toMatchObject({ nextAt: late, expiresAt });
  });

  it("are deleted with their messages some time after they are settled", () => {
    queue("0a0a0a0a", ["a@one.example", "b@two.example"]);
    for (const { id } of store.leaseEnvelopes(NOW, 1, NONE)) {
      store.settle(
        id,
        { result: "delivered", reply: reply(), durationMs: 1 },
        { state: "delivered", nextAt: NOW },
        NOW,
      );
    }
    expect(store.countFinished(NOW + 10, NOW)).toEqual({ envelopes: 1, reports: 0 });
    expect(store.prune(NOW + 10, 100)).toBe(1);
    expect(store.rawMessage("0a0a0a0a")).toBeDefined();
    store.removeEnvelopes({}, NOW);
    expect(store.prune(NOW + 10, 100)).toBe(1);
    expect(store.message("0a0a0a0a")).toBeUndefined();
    expect(store.rawMessage("0a0a0a0a")).toBeUndefined();
    expect(store.stats()["queue.message"]).toBe(0);
  });
});

describe("what was removed, failed or expired", () => {
  const DAY_SECONDS = 86_400;

  /** One envelope, ended by an attempt. */
  function ended(id: string, rcpt: string, state: "failed" | "expired" | "delivered"): string {
    queue(id, [rcpt]);
    const [leased] = store.leaseEnvelopes(NOW, 1, NONE);
    const outcome = {
      result: state === "delivered" ? "delivered" : "permanent",
      reply: reply({ code: 550, text: "no" }),
      durationMs: 1,
    } as const;
    store.settle(leased!.id, outcome, { state, nextAt: NOW }, NOW);
    return leased!.id;
  }

  it("could not be brought back: undelete makes it what it was, with the lifetime that was left", () => {
    queue("0a0a0a0a", ["a@one.example", "b@one.example"]);
    store.holdEnvelopes({ ids: ["0a0a0a0a00000002"] }, true);
    const before = store.envelopesOf("0a0a0a0a");
    store.removeEnvelopes({}, NOW + 100);
    reopen();
    const later = NOW + 100 + 5 * DAY_SECONDS;
    expect(store.undeleteEnvelopes({ ids: ["0a0a0a0a"] }, later)).toEqual({
      matched: 2,
      changed: 2,
      skipped: [],
    });
    expect(store.envelopesOf("0a0a0a0a")).toEqual(
      before.map((each) => ({ ...each, expiresAt: each.expiresAt + 5 * DAY_SECONDS })),
    );
    expect(store.stats()).toMatchObject({
      "queue.removed": 0,
      "queue.envelope.pending": 1,
      "queue.envelope.held": 1,
    });
  });

  it("keeps the message while one of its envelopes is kept, also when all of them were removed", () => {
    queue("0a0a0a0a", ["a@one.example", "b@one.example"]);
    store.removeEnvelopes({}, NOW);
    expect(store.prune(NOW, 100)).toBe(0);
    store.undeleteEnvelopes({ ids: ["0a0a0a0a00000001"] }, NOW + 1);
    expect(store.prune(NOW + 10, 100)).toBe(1);
    expect(store.rawMessage("0a0a0a0a")).toBeDefined();
    expect(store.envelopesOf("0a0a0a0a").map(({ state }) => state)).toEqual(["pending"]);
  });

  it("could not be sent again: requeue starts anew and keeps the history", () => {
    const failed = ended("0a0a0a0a", "a@one.example", "failed");
    const expired = ended("0b0b0b0b", "b@two.example", "expired");
    const delivered = ended("0c0c0c0c", "c@two.example", "delivered");
    const all = store.requeueEnvelopes({}, NOW + 50, NOW + 50 + DAY_SECONDS);
    expect(all).toEqual({ matched: 2, changed: 2, skipped: [] });
    for (const id of [failed, expired])
      expect(store.envelope(id)).toMatchObject({
        state: "pending",
        attempts: 0,
        nextAt: NOW + 50,
        expiresAt: NOW + 50 + DAY_SECONDS,
        last: { text: "no" },
      });
    expect(store.requeueEnvelopes({ ids: [delivered, failed] }, NOW, NOW + 1)).toEqual({
      matched: 2,
      changed: 0,
      skipped: [
        { id: failed, code: "pending" },
        { id: delivered, code: "delivered" },
      ],
    });
    const [leased] = store.leaseEnvelopes(NOW + 50, 1, new Set(["two.example"]));
    expect(leased).toMatchObject({ id: failed, attempts: 1 });
    store.settle(
      failed,
      { result: "delivered", reply: reply(), durationMs: 1 },
      { state: "delivered", nextAt: 0 },
      NOW,
    );
    expect(store.attempts(failed).map(({ result }) => result)).toEqual(["permanent", "delivered"]);
    expect(store.stats()).toMatchObject({
      "queue.failed": 0,
      "queue.expired": 0,
      "queue.delivered": 2,
      "queue.envelope.pending": 1,
    });
    expect(store.prune(NOW + 10, 100)).toBe(2); // a requeued one is not deleted under its attempt
  });

  it("that bounced can be sent again", () => {
    const id = ended("0a0a0a0a", "a@one.example", "delivered");
    const bounce = { result: "permanent", reply: reply({ text: "bounced" }), durationMs: 0 } as const;
    store.noteBounce(id, bounce, NOW, null);
    expect(store.stats()).toMatchObject({ "queue.delivered": 0, "queue.failed": 1 });
    expect(store.requeueEnvelopes({ ids: [id] }, NOW, NOW + 1)).toMatchObject({ changed: 1 });
  });

  it.each(["pending", "held"] as const)(
    "a bounce for a %s envelope fails it, none that is removed",
    (state) => {
      queue("0a0a0a0a", ["a@one.example", "b@one.example"]);
      store.holdEnvelopes({ ids: ["0a0a0a0a00000001"] }, state === "held");
      store.removeEnvelopes({ ids: ["0a0a0a0a00000002"] }, NOW);
      const bounce = { result: "permanent", reply: reply({ text: "bounced" }), durationMs: 0 } as const;
      for (const { id } of store.envelopesOf("0a0a0a0a")) store.noteBounce(id, bounce, NOW, null);
      expect(store.envelopesOf("0a0a0a0a").map((each) => each.state)).toEqual(["failed", "removed"]);
      expect(store.stats()).toMatchObject({ "queue.failed": 1, "queue.removed": 1 });
    },
  );

  it("requeue lifts the automatic suppression of the recipient, and skips what an operator suppressed", () => {
    const auto = ended("0a0a0a0a", "A@one.example", "failed");
    const blocked = ended("0b0b0b0b", "b@two.example", "failed");
    const entry = { until: null, reason: "x", createdAt: NOW, step: 2 };
    store.suppress({ ...entry, target: "a@one.example", author: "automatic" });
    store.suppress({ ...entry, target: "@two.example", author: "operator" });
    const wanted = { matched: 2, changed: 1, skipped: [{ id: blocked, code: "suppressed" }] };
    expect(store.requeueEnvelopes({}, NOW + 5, NOW + 10, true)).toEqual(wanted);
    expect(store.suppression("a@one.example", NOW + 5)).toBeDefined();
    expect(store.requeueEnvelopes({}, NOW + 5, NOW + 10)).toEqual(wanted);
    expect(store.suppression("a@one.example", NOW + 5)).toBeUndefined();
    expect(store.lastSuppression("a@one.example")).toMatchObject({ step: 2 }); // the next one is longer
    expect(store.envelope(auto)?.state).toBe("pending");
    expect(store.envelope(blocked)?.state).toBe("failed");
  });

  it("a dry run of every action changed something: it answers the same and changes nothing", () => {
    queue("0a0a0a0a", ["a@one.example"]);
    queue("0d0d0d0d", ["d@one.example"]);
    store.holdEnvelopes({ ids: ["0d0d0d0d"] }, true);
    queue("0e0e0e0e", ["e@one.example"]);
    store.removeEnvelopes({ ids: ["0e0e0e0e"] }, NOW);
    ended("0b0b0b0b", "b@two.example", "failed");
    const look = () => ({
      envelopes: ["0a0a0a0a", "0b0b0b0b", "0d0d0d0d", "0e0e0e0e"].map((id) => store.envelopesOf(id)),
      stats: store.stats(),
    });
    const before = look();
    const actions = [
      (dry: boolean) => store.scheduleEnvelopes({}, NOW + 9, NOW, dry),
      (dry: boolean) => store.holdEnvelopes({}, true, dry),
      (dry: boolean) => store.holdEnvelopes({}, false, dry),
      (dry: boolean) => store.removeEnvelopes({}, NOW, dry),
      (dry: boolean) => store.undeleteEnvelopes({}, NOW, dry),
      (dry: boolean) => store.requeueEnvelopes({}, NOW, NOW + 9, dry),
    ];
    for (const action of actions) {
      expect(action(true).changed).toBeGreaterThan(0);
      expect(look()).toEqual(before);
    }
    for (const action of actions) {
      const would = action(true);
      expect(action(false)).toEqual(would);
    }
  });
});

describe("suppressions", () => {
  const entry = { until: NOW + 100, reason: "x", createdAt: NOW, step: 0 } as const;
  const automatic = { ...entry, target: "a@one.example", author: "automatic" } as const;
  const operator = { ...entry, target: "A@one.example", author: "operator", until: null } as const;

  it("an automatic one overwrote an operator's: it does so only when that one is over", () => {
    expect(store.suppress(operator)).toBe(true);
    expect(store.suppress(automatic)).toBe(false);
    expect(store.lastSuppression("a@one.example")).toMatchObject({ author: "operator", until: null });
    expect(store.suppress({ ...operator, until: NOW - 1 })).toBe(true);
    expect(store.suppress(automatic)).toBe(true);
    expect(store.suppress(operator)).toBe(true);
    expect(store.suppressions()).toMatchObject([{ target: "a@one.example", author: "operator" }]);
  });

  it("a delivery deleted an operator's: it clears an automatic one alone", () => {
    store.suppress(automatic);
    store.suppress({ ...operator, target: "b@one.example" });
    queue("0a0a0a0a", ["A@one.example", "b@one.example"]);
    for (const { id } of store.leaseEnvelopes(NOW, 2, NONE))
      store.settle(
        id,
        { result: "delivered", reply: reply(), durationMs: 1 },
        { state: "delivered", nextAt: NOW },
        NOW,
      );
    expect(store.suppressions().map(({ target }) => target)).toEqual(["b@one.example"]);
  });
});

it("opens a database of the first schema: envelopes that had bounced are failed, pauses are kept", () => {
  store.close();
  const path = join(dir, "old.db");
  const old = openDatabase(path);
  migrate(old, QUEUE_MIGRATIONS.slice(0, 1));
  old.exec(`
INSERT INTO message VALUES ('0a0a0a0a', 'dmarc', 'd!x!0!1', 'x.example', 'r', '<m@x>', 'f', 's@x.example', 1, 1);
INSERT INTO envelope VALUES
  ('0a0a0a0a00000001', '0a0a0a0a', 'a@x.example', 'smtp', 'x.example', 'delivered', 1, 1, 1, 9, 5, NULL),
  ('0a0a0a0a00000002', '0a0a0a0a', 'b@x.example', 'smtp', 'x.example', 'delivered', 1, 1, 1, 9, 5, NULL),
  ('0a0a0a0a00000003', '0a0a0a0a', 'c@x.example', 'smtp', 'x.example', 'removed', 1, 1, 1, 9, 5, NULL);
INSERT INTO attempt VALUES
  ('0a0a0a0a00000001', 1, 'delivered', 1, '{}'), ('0a0a0a0a00000001', 2, 'permanent', 0, '{}'),
  ('0a0a0a0a00000002', 1, 'temporary', 1, '{}'), ('0a0a0a0a00000002', 2, 'delivered', 1, '{}');
INSERT INTO pause VALUES ('mta', 'slow.example', 1, NULL, 'op', 'why');
INSERT INTO counter VALUES ('queue.delivered', 2), ('queue.failed', 3), ('queue.removed', 1);
`);
  old.close();
  store = openQueueStore(path);
  expect(store.envelopesOf("0a0a0a0a").map(({ state }) => state)).toEqual(["failed", "delivered", "removed"]);
  expect(store.stats()).toMatchObject({ "queue.delivered": 1, "queue.failed": 4, "queue.removed": 1 });
  expect(store.pauses()).toEqual([
    { subsystem: "mta", destination: "slow.example", since: 1, who: "op", reason: "why" },
  ]);
  expect(store.undeleteEnvelopes({}, NOW)).toMatchObject({ changed: 1 });
});

describe("large messages", () => {
  const raw = Buffer.alloc(700_000, "report ");
  const [large] = [newMessage("0a0a0a0a", ["r@example.com"], NOW)].map((each) => ({
    ...each,
    message: { ...each.message, size: raw.byteLength },
    raw: null,
  }));
  const stage = () => {
    for (let part = 0; part * 256_000 < raw.byteLength; part++)
      store.stageRaw("0a0a0a0a", part, raw.subarray(part * 256_000, (part + 1) * 256_000));
  };

  it("are stored in slices before their report is composed, and are read as one", () => {
    store.count("f", [counted(evaluation())], NOW);
    stage();
    stage(); // a second try replaces the first
    store.compose(OUTGOING, [large!], NOW, null);
    expect(store.unstageRaw("0a0a0a0a")).toBe(0);
    expect(Buffer.compare(Buffer.from(store.rawMessage("0a0a0a0a")!), raw)).toBe(0);
    expect(store.dropStagedRaw()).toBe(0);
    store.removeEnvelopes({}, NOW);
    store.prune(NOW + 1, 10);
    expect(store.rawMessage("0a0a0a0a")).toBeUndefined();
  });

  it("of which a part is missing are not queued", () => {
    store.count("f", [counted(evaluation())], NOW);
    store.stageRaw("0a0a0a0a", 0, raw.subarray(0, 1000));
    expect(() => store.compose(OUTGOING, [large!], NOW, null)).toThrow(/not all of it was staged/);
    expect(store.outgoing(OUTGOING)?.state).toBe("open");
  });

  it("that were never composed leave nothing, but those that are being composed stay", () => {
    stage();
    store.stageRaw("0b0b0b0b", 0, raw);
    store.stageRaw("0c0c0c0c", 0, raw);
    expect(store.dropStagedRaw(new Set(["0b0b0b0b", "0c0c0c0c"]))).toBe(3);
    expect(store.dropStagedRaw(new Set(["0b0b0b0b", "0c0c0c0c"]))).toBe(0);
    expect(store.unstageRaw("0b0b0b0b")).toBe(1);
    expect(store.dropStagedRaw()).toBe(1);
    expect(store.dropStagedRaw()).toBe(0);
    expect(store.rawMessage("0a0a0a0a")).toBeUndefined();
  });
});

describe("a composition over sums that have changed", () => {
  it("is refused, whatever was counted, and the report stays", () => {
    store.count("f", [counted(evaluation())], NOW);
    const { rows, messages } = store.outgoing(OUTGOING)!;
    const compose = (seen: { rows: number; messages: number }) => () =>
      store.compose(OUTGOING, [newMessage("0a0a0a0a", ["r@example.com"], NOW)], NOW, null, seen);
    expect(compose({ rows, messages })).toThrow(/changed while it was composed/); // it still counts
    store.closeOutgoing(OUTGOING, NOW, NOW);
    expect(compose({ rows, messages: messages + 1 })).toThrow(/changed while it was composed/);
    expect(store.outgoing(OUTGOING)?.state).toBe("open");
    compose({ rows, messages })();
    expect(store.outgoing(OUTGOING)?.state).toBe("composed");
  });
});

describe("the tallies of a large composed report", () => {
  it("are deleted in slices after the commit; the report is deleted only after them", () => {
    const events = Array.from({ length: 12_000 }, (_, i) =>
      counted(evaluation({ row: { sourceIp: `198.${i >> 16}.${(i >> 8) & 255}.${i & 255}` } })),
    );
    reopen(1_000_000);
    store.count("f", events, NOW);
    store.count("f", [counted(evaluation(), { policyHash: "f".repeat(16) })], NOW);
    store.compose(OUTGOING, [newMessage("0a0a0a0a", ["r@example.com"], NOW)], NOW, null);
    expect(store.stats()["outgoing.tally"]).toBe(1);
    expect(store.tallies(OUTGOING)).toHaveLength(12_000);
    expect(store.nextTallyPurge(86_400)).toBe(NOW);
    expect(store.pruneOutgoing(NOW + 1, 10)).toBe(0);
    let slices = 0;
    while (store.purgeTallies(NOW, 86_400, 500) > 0) {
      if (++slices === 5) reopen(1_000_000); // and go on after a restart
    }
    expect(slices).toBeGreaterThan(24);
    expect(store.tallies(OUTGOING)).toEqual([]);
    expect(store.nextTallyPurge(86_400)).toBeUndefined();
    expect(store.tallies(outgoingId("dmarc", "example.com", "f".repeat(16), DAY))).toHaveLength(1);
    expect(store.pruneOutgoing(NOW + 1, 10)).toBe(1);
  });
});

describe("steering", () => {
  it("keeps pauses, suppressions and the secret over a restart", () => {
    const pause = {
      subsystem: "mta",
      destination: null,
      since: NOW,
      who: "op",
      reason: null,
    } as const;
    expect(store.pause(pause)).toBe(true);
    expect(store.pause(pause)).toBe(false);
    expect(store.pause({ ...pause, destination: "slow.example" })).toBe(true);
    const entry = {
      target: "A@Example.com",
      until: NOW + 10,
      reason: "5.1.1",
      author: "automatic",
      createdAt: NOW,
      step: 1,
    } as const;
    store.suppress(entry);
    const secret = store.instanceSecret(() => Buffer.alloc(32, 7));
    reopen();
    expect(store.pauses()).toHaveLength(2);
    expect(store.resume("mta", "slow.example")).toBe(true);
    expect(store.resume("mta", "slow.example")).toBe(false);
    expect(store.pauses()).toEqual([pause]);
    expect(store.suppression("a@example.com", NOW)).toEqual({ ...entry, target: "a@example.com" });
    expect(store.suppression("a@example.com", NOW + 10)).toBeUndefined();
    expect(store.unsuppress(["A@example.com", "nobody@example.com"])).toBe(1);
    expect(store.instanceSecret(() => Buffer.alloc(32, 8))).toEqual(secret);
    store.audit({ at: NOW, who: "op", command: "remove", detail: "{}" });
  });

  it("shows the same counters after a restart", () => {
    store.count("f", [counted(evaluation({ id: "x" })), counted(sessions())], NOW);
    queue("0a0a0a0a", ["a@one.example"]);
    const before = store.stats();
    reopen();
    expect(store.stats()).toEqual(before);
    expect(before).toMatchObject({
      "outgoing.open": 2,
      "outgoing.tally": 3,
      "feed.accepted": 3,
      "queue.delivered": 0,
    });
  });
});
