/** From events to messages in the queue: real SQLite, a fake clock, DNS as data. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Config } from "../../src/config/schema.ts";
import type { Resolver } from "../../src/dns/resolver.ts";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { generateSigningKey, loadSigningKey, type SigningKey } from "../../src/format/mail/dkim-sign.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import type { FeedEvent } from "../../src/model/evaluation.ts";
import type { OutgoingReport } from "../../src/model/outgoing.ts";
import { makeCounter } from "../../src/report/counter.ts";
import { messageOfReturnPath } from "../../src/report/messages.ts";
import { Scheduler } from "../../src/report/scheduler.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { inlineComposer } from "../support/composer.ts";
import { DAY, evaluation, POLICY, sessions } from "../support/events.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { noEvents } from "../support/recorded-events.ts";
import { testConfig } from "../support/test-config.ts";
import { until } from "../support/wait.ts";

const HOUR = 3_600_000;
const SECRET = Buffer.alloc(32, 1);
const KEY = loadSigningKey(generateSigningKey("ed25519"), "reporter.example", "e1");

const ZONE = `
_dmarc.example.com TXT "v=DMARC1; p=reject; rua=mailto:reports@example.com"
_smtp._tls.example.com TXT "v=TLSRPTv1;rua=mailto:tls@example.com"
_dmarc.two.example TXT "v=DMARC1; p=none; rua=mailto:a@two.example,mailto:b@taker.example"
two.example._report._dmarc.taker.example TXT "v=DMARC1"
_dmarc.outside.example TXT "v=DMARC1; p=none; rua=mailto:x@stranger.example"
_dmarc.silent.example TXT "v=DMARC1; p=none"
_dmarc.broken.example SERVFAIL
_dmarc.part.example TXT "v=DMARC1; p=none; rua=mailto:a@part.example,mailto:b@flaky.example"
_dmarc.flaky.example SERVFAIL
`;

let dir: string;
let clock: FakeClock;
let store: QueueStore;
let scheduler: Scheduler;
let config: Config;
let keys: readonly SigningKey[];
let paused: boolean;
let resolver: Resolver;
let count: ReturnType<typeof makeCounter>;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "outgoing-"));
  clock = new FakeClock("2026-11-19T02:00:00Z");
  config = testConfig();
  keys = [KEY];
  paused = false;
  resolver = zoneResolver(parseZone(ZONE));
  boot();
});

afterEach(async () => {
  await scheduler.stop();
  store.close();
  rmSync(dir, { recursive: true, force: true });
});

/** What the daemon does at start. */
function boot(): void {
  store = openQueueStore(join(dir, "queue.db"));
  scheduler = new Scheduler({
    config: () => config,
    store,
    composer: inlineComposer(join(dir, "queue.db")),
    resolver: { ...resolver, txt: (name) => resolver.txt(name) },
    clock,
    log: silentLog,
    events: noEvents,
    secret: SECRET,
    keys: () => keys,
    version: "1.0.0",
    paused: () => paused,
    onComposed: () => {},
  });
  count = makeCounter({
    config: () => config,
    store,
    clock,
    secret: SECRET,
    events: noEvents,
    onOpened: () => scheduler.wake(),
  });
  scheduler.start();
}

async function reboot(): Promise<void> {
  await scheduler.stop();
  store.close();
  boot();
}

const feed = (...events: FeedEvent[]) => count("f", events);
const about = (domain: string, more: Parameters<typeof evaluation>[0] = {}): FeedEvent =>
  evaluation({
    policy: { ...POLICY, domain },
    rua: [`mailto:a@${domain}`],
    time: epochSeconds(clock),
    ...more,
    row: { headerFrom: domain, ...more.row },
  });

function reports(): OutgoingReport[] {
  return [...store.listOutgoing({}, { limit: 1000 }).items];
}

const only = (): OutgoingReport => {
  expect(reports()).toHaveLength(1);
  return reports()[0]!;
};

/** Lets time pass, in steps that are short beside all waits of the scheduler, each until nothing is being done. */
async function pass(hours: number): Promise<void> {
  for (let left = hours * HOUR; left > 0; left -= HOUR / 4) {
    await clock.advance(Math.min(left, HOUR / 4));
    await scheduler.idle();
  }
}

/** The XML or JSON inside a queued message. */
function documentOf(messageId: string): string {
  const raw = Buffer.from(store.rawMessage(messageId)!).toString("latin1");
  const body = raw.slice(raw.indexOf("base64", raw.indexOf("application/")));
  const base64 = body.slice(body.indexOf("\r\n\r\n")).split("\r\n--")[0]!;
  return gunzipSync(Buffer.from(base64, "base64")).toString("utf8");
}

function countsIn(text: string): number {
  return [...text.matchAll(/<count>(\d+)<\/count>/g)].reduce((sum, [, n]) => sum + Number(n), 0);
}

function rcpts(): string[] {
  return store
    .listEnvelopes({}, { limit: 1000 })
    .items.map(({ rcpt }) => rcpt)
    .sort();
}

describe("an outgoing report", () => {
  it("goes out after its day, with the day's dates, when it is due and not before", async () => {
    feed(about("example.com", { count: 3 }));
    await pass(22);
    expect(only()).toMatchObject({ state: "open", begin: DAY, end: DAY + 86_399 });
    await clock.advance(only().due * 1000 - clock.now() - 1000);
    await scheduler.idle();
    expect(only().state).toBe("open");
    await clock.advance(2000);
    await until("composing", () => only().state === "composed");
    const xml = documentOf(only().messageIds[0]!);
    expect(xml).toMatch(new RegExp(`<begin>${DAY}</begin>\\s*<end>${DAY + 86_399}</end>`));
    expect(countsIn(xml)).toBe(3);
    expect(rcpts()).toEqual(["reports@example.com"]);
  });

  it("goes to each address in a message of its own, and outside ones must have agreed", async () => {
    feed(about("two.example"), about("outside.example"));
    await pass(48);
    expect(rcpts()).toEqual(["a@two.example", "b@taker.example"]);
    const [dropped] = reports().filter((each) => each.policyDomain === "outside.example");
    expect(dropped).toMatchObject({ state: "dropped", dropReason: "unauthorised" });
  });

  it("is two when the policy changes, each with its own rows", async () => {
    feed(about("example.com", { count: 2 }));
    feed(about("example.com", { count: 5, policy: { ...POLICY, p: "quarantine" } }));
    await pass(48);
    const sums = reports().map((each) => countsIn(documentOf(each.messageIds[0]!)));
    expect(sums.sort()).toEqual([2, 5]);
    expect(new Set(reports().map((each) => store.message(each.messageIds[0]!)?.reportId)).size).toBe(2);
  });

  it("is one for each day that the daemon was down for, with that day's dates and id", async () => {
    for (let day = 0; day < 3; day++) {
      feed(about("example.com", { count: day + 1 }));
      clock.jump(24 * HOUR);
    }
    await scheduler.stop();
    store.close();
    clock.jump(48 * HOUR);
    boot();
    await clock.advance(1000);
    await until("three reports", () => reports().every((each) => each.state === "composed"));
    const begins = reports().map((each) => each.begin);
    expect(begins).toEqual([DAY, DAY + 86_400, DAY + 2 * 86_400]);
    const documents = reports().map((each) => documentOf(each.messageIds[0]!));
    expect(documents.map(countsIn)).toEqual([1, 2, 3]);
    for (const [i, xml] of documents.entries()) expect(xml).toContain(`<begin>${DAY + i * 86_400}</begin>`);
    const ids = reports().map((each) => store.message(each.messageIds[0]!)?.reportId.slice(0, 9));
    expect(ids).toEqual(["d20261119", "d20261120", "d20261121"]);
  });

  it("that is older than a week is dropped, not sent", async () => {
    feed(about("example.com"));
    await scheduler.stop();
    store.close();
    clock.jump(9 * 24 * HOUR);
    boot();
    await clock.advance(1000);
    await until("dropping", () => only().state === "dropped");
    expect(only().dropReason).toBe("expired");
  });

  it("waits while composing is paused", async () => {
    paused = true;
    feed(about("example.com"));
    await pass(48);
    expect(only().state).toBe("open");
    paused = false;
    scheduler.wake();
    await clock.advance(1000);
    await until("composing", () => only().state === "composed");
  });

  it("of sessions goes to the address of the record it was counted under", async () => {
    const old = "v=TLSRPTv1;rua=mailto:old@example.com";
    feed(sessions({ time: epochSeconds(clock), record: old }), sessions({ time: epochSeconds(clock) }));
    await pass(48);
    expect(rcpts()).toEqual(["old@example.com", "tls@example.com"]);
    const [report] = reports();
    const value = JSON.parse(documentOf(report!.messageIds[0]!)) as {
      policies: { summary: Record<string, number> }[];
    };
    expect(value.policies[0]?.summary).toEqual({
      "total-successful-session-count": 2,
      "total-failure-session-count": 1,
    });
  });

  it.each([
    ["without a record", "gone.example", {}, "no-rua"],
    ["without addresses in the record", "silent.example", {}, "no-rua"],
    ["with optional mail only", "example.com", { optional: true }, "optional-only"],
    ["with spam that passed only", "example.com", { spam: true }, "spam-only"],
  ])("%s is dropped with the reason", async (_, domain, more, reason) => {
    feed(about(domain, more));
    await pass(48);
    expect(only()).toMatchObject({ state: "dropped", dropReason: reason, messages: 1 });
    expect(rcpts()).toEqual([]);
  });

  it("with mail that asks for it contains the optional mail too", async () => {
    feed(about("example.com", { optional: true, count: 4 }), about("example.com"));
    await pass(48);
    expect(countsIn(documentOf(only().messageIds[0]!))).toBe(5);
  });

  it("about our own domain is dropped", async () => {
    config = testConfig({ receive: { domains: ["example.com"] } });
    feed(about("example.com"));
    await pass(48);
    expect(only().dropReason).toBe("local");
  });

  it("is dropped without a key to sign with, unless that is allowed; TLS reports always", async () => {
    keys = [];
    feed(about("example.com"), sessions({ time: epochSeconds(clock) }));
    await pass(48);
    expect(reports().map((each) => each.dropReason)).toEqual(["unsigned", "unsigned"]);
    config = testConfig({ report: { unsigned: true } });
    feed(about("example.com"), sessions({ time: epochSeconds(clock) }));
    await pass(48);
    expect(
      reports()
        .slice(2)
        .map((each) => each.state),
    ).toEqual(["composed", "dropped"]);
  });

  it.each(["reports@example.com", "@example.com", "example.com"])(
    "is dropped when %s is suppressed",
    async (target) => {
      const until = DAY + 7 * 86_400;
      store.suppress({ target, until, reason: "5.1.1", author: "automatic", createdAt: DAY, step: 1 });
      feed(about("example.com"));
      await pass(48);
      expect(only().dropReason).toBe("suppressed");
    },
  );

  it("is copied to the address that the operator names", async () => {
    config = testConfig({ report: { copy_to: "copy@reporter.example" } });
    feed(about("example.com"));
    await pass(48);
    expect(rcpts()).toEqual(["copy@reporter.example", "reports@example.com"]);
  });
});

describe("when DNS does not answer", () => {
  it("a report waits for up to a day, then goes to the addresses seen last, when they need no look-up", async () => {
    feed(about("broken.example"));
    await pass(27);
    expect(only()).toMatchObject({ state: "open" });
    expect(only().resolveAttempts).toBeGreaterThan(0);
    await pass(24);
    expect(only()).toMatchObject({ state: "composed", resolveAttempts: 6 });
    expect(rcpts()).toEqual(["a@broken.example"]);
  });

  it("a report whose addresses need a look-up is dropped at last", async () => {
    feed(about("broken.example", { rua: ["mailto:a@flaky.example"] }));
    await pass(60);
    expect(only()).toMatchObject({ state: "dropped", dropReason: "dns" });
  });

  it("and is back in time, the report goes out", async () => {
    feed(about("broken.example"));
    await pass(26);
    resolver = zoneResolver(
      parseZone(
        ZONE.replace(
          /^_dmarc.broken.example.*$/m,
          '_dmarc.broken.example TXT "v=DMARC1; p=none; rua=mailto:new@broken.example"',
        ),
      ),
    );
    await reboot();
    await pass(6);
    expect(rcpts()).toEqual(["new@broken.example"]);
  });

  it("for one of two addresses, the report waits a little and then goes to the other", async () => {
    feed(about("part.example"));
    await pass(24.1);
    expect(only().state).toBe("open");
    await pass(6);
    expect(only()).toMatchObject({ state: "composed", resolveAttempts: 2 });
    expect(rcpts()).toEqual(["a@part.example"]);
  });
});

describe("operators", () => {
  it("send an open report now; what comes later begins a new one in the next second", async () => {
    feed(about("example.com", { count: 2 }));
    const sent = await scheduler.requests.send("d!example.com");
    expect(sent).toMatchObject({ sent: true });
    const now = epochSeconds(clock);
    feed(about("example.com", { count: 7 }));
    clock.jump(5000);
    feed(about("example.com", { count: 1 }));
    expect(
      reports().map(({ begin, end, state, messages, lateEvents }) => ({
        begin,
        end,
        state,
        messages,
        lateEvents,
      })),
    ).toEqual([
      { begin: DAY, end: now, state: "composed", messages: 2, lateEvents: 0 },
      { begin: now + 1, end: DAY + 86_399, state: "open", messages: 8, lateEvents: 1 },
    ]);
    await pass(48);
    expect(reports().map((each) => countsIn(documentOf(each.messageIds[0]!)))).toEqual([2, 8]);
  });

  it("send twice within one second without a mix-up", async () => {
    feed(about("example.com"));
    await scheduler.requests.send("d!example.com");
    feed(about("example.com"));
    expect(await scheduler.requests.send("d!example.com")).toMatchObject({ sent: true });
    const [first, second] = reports();
    expect(second!.begin).toBe(first!.end + 1);
    expect(new Set(rcpts())).toEqual(new Set(["reports@example.com"]));
    await expect(scheduler.requests.send("d!example.com")).rejects.toMatchObject({
      code: "outgoing.not_open",
    });
  });

  it("are told why a report cannot be sent", async () => {
    feed(about("silent.example"));
    expect(await scheduler.requests.send("d!silent.example")).toMatchObject({
      sent: false,
      why: expect.stringContaining("no-rua"),
    });
    await expect(scheduler.requests.send("d!unknown.example")).rejects.toMatchObject({
      code: "outgoing.no_such_report",
    });
  });

  it("see the very bytes that sending would queue, and nothing changes", async () => {
    feed(about("example.com", { count: 2 }));
    const before = store.stats();
    const preview = Buffer.from(await scheduler.requests.preview("d!example.com"));
    expect(Buffer.from(await scheduler.requests.preview("d!example.com")).equals(preview)).toBe(true);
    expect(store.stats()).toEqual(before);
    const sent = await scheduler.requests.send("d!example.com");
    const id = sent.sent ? sent.messageIds[0]! : "";
    expect(Buffer.from(store.rawMessage(id)!).equals(preview)).toBe(true);
    expect(Buffer.from(await scheduler.requests.preview("d!example.com")).equals(preview)).toBe(true);
  });

  it("cancel what was counted so far; the rest of the day is a new report", async () => {
    feed(about("example.com", { count: 2 }));
    scheduler.requests.cancel("d!example.com");
    clock.jump(1000);
    feed(about("example.com", { count: 3 }));
    expect(reports()).toMatchObject([
      { state: "dropped", dropReason: "cancelled", messages: 2 },
      { state: "open", messages: 3, lateEvents: 0, end: DAY + 86_399 },
    ]);
    expect(() => scheduler.requests.cancel(reports()[0]!.id)).toThrow(/not open/);
  });

  it("hold, release and schedule", async () => {
    feed(about("example.com"));
    expect(scheduler.requests.hold("d!example.com", true)).toMatchObject({ changed: true });
    await pass(48);
    expect(only().state).toBe("held");
    await expect(scheduler.requests.send("d!example.com")).rejects.toMatchObject({
      code: "outgoing.not_open",
    });
    expect(scheduler.requests.hold("d!example.com", false)).toMatchObject({ changed: true });
    scheduler.wake();
    await clock.advance(1000);
    await until("composing", () => only().state === "composed");
  });

  it("are told every check of a report", async () => {
    feed(about("two.example"), about("outside.example", { optional: true }));
    const good = await scheduler.requests.explain("d!two.example");
    expect(good.verdict).toBe("will be sent to mailto:a@two.example, mailto:b@taker.example");
    expect(good.checks.every((check) => check.ok)).toBe(true);
    const bad = await scheduler.requests.explain("d!outside.example");
    expect(bad.verdict).toMatch(/only mail that must not cause a report/);
    expect(bad.checks.filter((check) => !check.ok).map((check) => check.check)).toEqual([
      "mail that asks for a report",
      "not only spam that passed",
      "destination mailto:x@stranger.example",
    ]);
  });
});

describe("events out of time", () => {
  it("of a day that is not closed are counted there", async () => {
    clock.jump(24 * HOUR);
    feed(about("example.com", { time: DAY + 100 }));
    expect(only()).toMatchObject({ begin: DAY, lateEvents: 0 });
  });

  it("of a composed day go into the current one, and the report says so", async () => {
    feed(about("example.com"));
    await pass(30);
    feed(about("example.com", { time: DAY + 100, count: 4 }));
    const late = reports().at(-1)!;
    expect(late).toMatchObject({ begin: DAY + 86_400, lateEvents: 1, messages: 4 });
    await pass(24);
    expect(documentOf(store.outgoing(late.id)!.messageIds[0]!)).toContain("late event");
  });
});

describe("a crash", () => {
  it("after composing leaves the same bytes and ids in the queue", async () => {
    feed(about("two.example"));
    await scheduler.requests.send("d!two.example");
    const ids = reports()[0]!.messageIds;
    const bytes = ids.map((id) => Buffer.from(store.rawMessage(id)!));
    await reboot();
    expect(ids.map((id) => Buffer.from(store.rawMessage(id)!))).toEqual(bytes);
    expect(ids).toHaveLength(2);
    await expect(scheduler.requests.send(reports()[0]!.id)).rejects.toMatchObject({
      code: "outgoing.not_open",
    });
  });

  it("before the commit repeats the same messages", async () => {
    feed(about("two.example", { count: 9 }));
    const compose = store.compose;
    let tried: { id: string; raw: Buffer }[] = [];
    Object.assign(store, {
      compose: (_: string, messages: Parameters<QueueStore["compose"]>[1]) => {
        tried = messages.map(({ message, raw }) => ({ id: message.id, raw: Buffer.from(raw!) }));
        throw new Error("the power is gone");
      },
    });
    await expect(scheduler.requests.send("d!two.example")).rejects.toThrow("the power is gone");
    Object.assign(store, { compose });
    await reboot();
    expect(reports()[0]).toMatchObject({ state: "open", messages: 9 });
    const sent = await scheduler.requests.send("d!two.example");
    const ids = sent.sent ? sent.messageIds : [];
    expect(ids.map((id) => ({ id, raw: Buffer.from(store.rawMessage(id)!) }))).toEqual(tried);
  });
});

describe("faults", () => {
  it("of a feed that is switched off are told, not counted", () => {
    config = testConfig({ report: { tls: false } });
    expect(feed(sessions(), about("example.com"))).toMatchObject({
      counted: 1,
      refused: [{ index: 0, reason: "kind: tls reports are switched off" }],
    });
  });
});

it("ties a bounce to its message by the return path, and only a true one", async () => {
  feed(about("example.com"));
  await scheduler.requests.send("d!example.com");
  const { id, sender } = store.message(reports()[0]!.messageIds[0]!)!;
  expect(sender).toMatch(/^noreply-reports\+[0-9a-f]{8}\.[0-9a-f]{8}@reporter\.example$/);
  expect(messageOfReturnPath(sender, SECRET)).toBe(id);
  expect(messageOfReturnPath(sender.replace(/\.[0-9a-f]{8}@/, ".00000000@"), SECRET)).toBeUndefined();
  expect(messageOfReturnPath(sender, Buffer.alloc(32, 2))).toBeUndefined();
});

it("accounts for every message over days, with restarts, cuts, drops and repeats", async () => {
  const domains = ["example.com", "two.example", "silent.example", "outside.example"];
  // a small linear congruential generator: the same run each time
  let seed = 42;
  const next = (n: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * n);
  };
  let told = 0;
  let repeated = 0;
  for (let step = 0; step < 120; step++) {
    const events = Array.from({ length: 1 + next(5) }, () => {
      const n = 1 + next(20);
      const domain = domains[next(domains.length)]!;
      const event = about(domain, {
        id: `e${step}-${next(1_000_000)}`,
        count: n,
        time: epochSeconds(clock) - next(30) * 3600,
        optional: next(4) === 0,
        row: { sourceIp: `192.0.2.${next(5)}` },
      });
      told += n;
      return event;
    });
    feed(...events);
    if (next(3) === 0) repeated += feed(...events).repeated;
    if (next(10) === 0) {
      const open = reports().find((each) => each.state === "open");
      if (open) await scheduler.requests.send(open.id);
    }
    if (next(15) === 0) {
      const open = reports().find((each) => each.state === "open");
      if (open) scheduler.requests.cancel(open.id);
    }
    if (next(12) === 0) await reboot();
    await pass(1 + next(3));
  }
  await pass(72);
  expect(repeated).toBeGreaterThan(0);
  const ended = reports();
  expect(ended.every((each) => each.state === "composed" || each.state === "dropped")).toBe(true);
  const dropped = ended
    .filter((each) => each.state === "dropped")
    .reduce((sum, each) => sum + each.messages, 0);
  const written = ended
    .filter((each) => each.state === "composed")
    .reduce((sum, each) => sum + countsIn(documentOf(each.messageIds[0]!)), 0);
  expect(written + dropped).toBe(told);
  expect(written).toBeGreaterThan(0);
  const stats = store.stats();
  expect(stats["outgoing.message.composed"]! + stats["outgoing.message.dropped"]!).toBe(told);
  expect(stats["outgoing.tally"]).toBe(0);
  expect(stats["outgoing.tally.dropped"]).toBe(0);
});
