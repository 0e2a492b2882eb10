/** Sources of evaluations: their cursor is committed with what they counted, and their status tells what came. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Feeder, makeFeeder, parseContext } from "../../src/feed/batch.ts";
import { parseFeedLine } from "../../src/feed/parse.ts";
import { makeFeedSource } from "../../src/feed/sources.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import { makeCounter } from "../../src/report/counter.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { noEvents } from "../support/recorded-events.ts";
import { testConfig } from "../support/test-config.ts";

const NOW = 1_795_132_800;
const config = testConfig();
const clock = new FakeClock(NOW * 1000);

let dir: string;
let store: QueueStore;
let feeder: Feeder;

const line = (id: string): string =>
  JSON.stringify({
    v: 1,
    kind: "dmarc",
    id,
    time: NOW - 3600,
    source_ip: "192.0.2.10",
    header_from: "example.com",
    policy: { domain: "example.com", p: "reject" },
    disposition: "none",
    dkim_aligned: true,
    spf_aligned: false,
  });
const lines = (...texts: string[]) => texts.map((text, i) => ({ number: i + 1, text }));

function open(): void {
  store = openQueueStore(join(dir, "queue.db"));
  const secret = Buffer.alloc(32, 1);
  const count = makeCounter({ config: () => config, store, clock, secret, events: noEvents, onOpened() {} });
  feeder = makeFeeder({ config: () => config, clock, count, events: noEvents });
}

/** Events of these lines. */
const parsed = (...texts: string[]) => ({
  events: texts.map((text) => {
    const result = parseFeedLine(text, parseContext(config, NOW));
    if (!result.ok) throw new Error(result.reason);
    return result.event;
  }),
});

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "feed-"));
  open();
});
afterEach(() => {
  store.close();
  rmSync(dir, { recursive: true });
});

describe("the cursor of a feed", () => {
  it("is stored with what its batch counted, and is there after a restart", () => {
    expect(store.feedCursor("history")).toBeUndefined();
    feeder.lines("history", lines(line("a")), "inode 7, offset 100");
    feeder.lines("history", lines(line("b"), "no event"), "inode 7, offset 200");
    feeder.lines("other", lines(line("c")));
    store.close();
    open();
    expect(store.feedCursor("history")).toBe("inode 7, offset 200");
    expect(store.feedCursor("other")).toBeUndefined();
    expect(store.stats()).toMatchObject({ "feed.accepted": 3, "feed.rejected": 1 });
  });

  it("is given with events that a source of another format makes, and a refused one is named by its place", () => {
    const { events } = parsed(line("a"), line("b"));
    expect(feeder.events("rspamd", events, "row 2")).toMatchObject({ accepted: 2, rejected: 0 });
    expect(store.feedCursor("rspamd")).toBe("row 2");
    expect(feeder.events("rspamd", events, "row 3")).toMatchObject({ accepted: 2, repeated: 2 });
  });

  it("moves on over lines that are no events", () => {
    feeder.lines("history", lines("no event"), "offset 10");
    expect(store.feedCursor("history")).toBe("offset 10");
  });

  it.each([
    ["the events", "INSERT ON tally"],
    ["the cursor", "UPDATE ON feed_cursor"],
  ])("an error while %s were stored left the other: neither is stored", (_what, change) => {
    feeder.lines("history", lines(line("a")), "offset 100");
    const behind = new Database(join(dir, "queue.db"));
    behind.exec(`CREATE TRIGGER fault BEFORE ${change} BEGIN SELECT RAISE(ABORT, 'a fault'); END`);
    const other = line("b").replace("192.0.2.10", "192.0.2.11");
    expect(() => feeder.lines("history", lines(other), "offset 200")).toThrow();
    expect([store.feedCursor("history"), store.stats()["feed.accepted"]]).toEqual(["offset 100", 1]);
    behind.exec("DROP TRIGGER fault");
    behind.close();
    feeder.lines("history", lines(other), "offset 200");
    expect([store.feedCursor("history"), store.stats()["feed.accepted"]]).toEqual(["offset 200", 2]);
  });
});

describe("a feed on a socket", () => {
  const sourceOf = (given: Feeder) =>
    makeFeedSource(
      { name: "mx1", type: "ndjson", socket: join(dir, "feed.sock"), mode: "0660" },
      { feeder: given, cursor: () => undefined, clock, log: silentLog, events: noEvents },
    );
  /** Sends one batch; the answer. */
  const send = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      let answer = "";
      const socket = connect(join(dir, "feed.sock"), () => socket.end(text));
      socket.on("data", (chunk) => {
        answer += chunk.toString();
      });
      socket.on("error", reject);
      socket.on("close", () => resolve(answer));
    });

  it("tells its status: where it listens, what came, and why the last batch was not counted", async () => {
    let fault: Error | undefined;
    const source = sourceOf({
      ...feeder,
      lines(...args) {
        if (fault) throw fault;
        return feeder.lines(...args);
      },
    });
    const where = join(dir, "feed.sock");
    const nothing = { lastBatchAt: null, accepted: 0, repeated: 0, rejected: 0, error: null };
    expect(source.status()).toEqual({ name: "mx1", type: "ndjson", where, state: "stopped", ...nothing });
    await source.start();
    await send(`${line("a")}\n${line("a")}\nnonsense\n`);
    expect(source.status()).toMatchObject({
      state: "running",
      lastBatchAt: NOW,
      accepted: 2,
      repeated: 1,
      rejected: 1,
      error: null,
    });
    fault = new MailreportError("store.full");
    await send(`${line("b")}\n`);
    expect(source.status()).toMatchObject({ accepted: 2, error: "store.full" });
    fault = undefined;
    await send(`${line("b")}\n`);
    expect(source.status()).toMatchObject({ accepted: 3, error: null });
    await source.stop();
    expect(source.status().state).toBe("stopped");
  });
});
