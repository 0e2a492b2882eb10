/** The feed socket over a real Unix socket and a real queue: answers after the commit, in order, bounded. */
import { execFileSync } from "node:child_process";
import { lstatSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Feeder, makeFeeder } from "../../src/feed/batch.ts";
import type { FeedReply } from "../../src/feed/port.ts";
import { type FeedSocket, startFeedSocket } from "../../src/feed/socket.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { makeCounter } from "../../src/report/counter.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { keepingLog } from "../support/keeping-log.ts";
import { loggedEvents, noEvents } from "../support/recorded-events.ts";
import { testConfig } from "../support/test-config.ts";
import { until } from "../support/wait.ts";

const clock = new FakeClock("2026-11-20T12:00:00Z");
const config = testConfig();
const time = clock.now() / 1000;

let dir: string;
let path: string;
let store: QueueStore;
let feeder: Feeder;
let socket: FeedSocket | undefined;
/** Thrown in place of counting. */
let fault: Error | undefined;
let logged: Record<string, unknown>[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "feed-"));
  path = join(dir, "feed.sock");
  store = openQueueStore(join(dir, "queue.db"));
  fault = undefined;
  logged = [];
  const secret = Buffer.alloc(32, 1);
  const options = { config: () => config, store, clock, secret, events: noEvents, onOpened: () => {} };
  const counter = makeCounter(options);
  feeder = makeFeeder({
    config: () => config,
    clock,
    events: loggedEvents(keepingLog(logged)),
    count: (...args) => {
      if (fault) throw fault;
      return counter(...args);
    },
  });
  socket = await startFeedSocket({ name: "mx1", path, feeder, clock, ...reporting() });
});

const reporting = () => {
  const log = keepingLog(logged);
  return { log, events: loggedEvents(log) };
};

afterEach(async () => {
  await socket?.stop();
  store.close();
  rmSync(dir, { recursive: true, force: true });
});

function line(id: string, change: Record<string, unknown> = {}): string {
  return `${JSON.stringify({
    v: 1,
    kind: "dmarc",
    id,
    time,
    source_ip: "192.0.2.10",
    header_from: "example.com",
    policy: { domain: "example.com", p: "reject" },
    disposition: "none",
    dkim_aligned: true,
    spf_aligned: false,
    ...change,
  })}\n`;
}

/** A client that keeps every answer. */
class Client {
  readonly #socket: Socket;
  #text = "";
  closed = false;

  constructor(at = path) {
    this.#socket = connect({ path: at, allowHalfOpen: true });
    this.#socket.setEncoding("utf8");
    this.#socket.on("data", (chunk: string) => {
      this.#text += chunk;
    });
    this.#socket.on("error", () => {});
    this.#socket.on("end", () => this.#socket.end());
    this.#socket.on("close", () => {
      this.closed = true;
    });
  }

  write(text: string): void {
    this.#socket.write(text);
  }

  end(text = ""): void {
    this.#socket.end(text);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  get replies(): FeedReply[] {
    return this.#lines.filter((each) => !("error" in each)) as unknown as FeedReply[];
  }

  get refusals(): Record<string, unknown>[] {
    return this.#lines.filter((each) => "error" in each);
  }

  get #lines(): Record<string, unknown>[] {
    return this.#text
      .split("\n")
      .slice(0, -1)
      .map((each) => JSON.parse(each) as Record<string, unknown>);
  }

  /** The sums of all answers, when `n` lines were answered. */
  async answered(n: number): Promise<FeedReply> {
    return until(`${n} answers`, () => {
      const total = this.replies.reduce(
        (sum, each) => ({
          accepted: sum.accepted + each.accepted,
          repeated: sum.repeated + each.repeated,
          rejected: sum.rejected + each.rejected,
          errors: [...sum.errors, ...each.errors],
        }),
        { accepted: 0, repeated: 0, rejected: 0, errors: [] } as FeedReply,
      );
      return total.accepted + total.rejected >= n ? total : undefined;
    });
  }
}

describe("the feed socket", () => {
  it("is there for owner and group only", () => {
    expect(lstatSync(path).mode & 0o777).toBe(0o660);
  });

  it("answers a batch with what was counted and what was wrong, by line", async () => {
    const client = new Client();
    client.write(`${line("a")}${line("b", { disposition: "drop" })}\n${line("c")}nonsense\n`);
    expect(await client.answered(4)).toEqual({
      accepted: 2,
      repeated: 0,
      rejected: 2,
      errors: [
        { line: 2, reason: "disposition: expected none, pass, quarantine or reject" },
        { line: 5, reason: "not JSON" },
      ],
    });
    client.write(`${line("d", { count: 0 })}`);
    expect((await client.answered(5)).errors.at(-1)).toMatchObject({ line: 6 });
    expect(store.stats()).toMatchObject({ "feed.accepted": 2, "feed.rejected": 3, "outgoing.message": 2 });
    client.destroy();
  });

  it("takes a line in pieces, and the last one without a newline", async () => {
    const client = new Client();
    const text = line("a");
    client.write(text.slice(0, 20));
    client.write(text.slice(20));
    await client.answered(1);
    client.end(line("b").trimEnd());
    await until("the end", () => client.closed);
    expect(await client.answered(2)).toMatchObject({ accepted: 2 });
  });

  it("answers all batches of a client that writes and closes at once", async () => {
    const client = new Client();
    client.end(Array.from({ length: 1700 }, (_, i) => line(`e${i}`)).join(""));
    expect(await client.answered(1700)).toMatchObject({ accepted: 1700, rejected: 0 });
    await until("the end", () => client.closed);
    expect(client.replies.every(({ accepted }) => accepted <= 500)).toBe(true);
    expect(store.stats()["outgoing.message"]).toBe(1700);
  });

  it("counts an event once when a client that got no answer sends it again", async () => {
    const first = new Client();
    first.write(line("a") + line("b"));
    await first.answered(2);
    first.destroy();
    const second = new Client();
    second.write(line("a") + line("b") + line("c"));
    expect(await second.answered(3)).toMatchObject({ accepted: 3, repeated: 2 });
    expect(store.stats()["outgoing.message"]).toBe(3);
    second.destroy();
  });

  it("skips a line that is too long and goes on", async () => {
    const client = new Client();
    client.write(`${"x".repeat(200_000)}\n`);
    client.write(line("a"));
    expect(await client.answered(2)).toEqual({
      accepted: 1,
      repeated: 0,
      rejected: 1,
      errors: [{ line: 1, reason: "longer than 65536 bytes" }],
    });
    client.destroy();
  });

  it("a full store closed the connection: the batch is refused with its lines, and the connection goes on", async () => {
    fault = new MailreportError("store.full");
    const client = new Client();
    client.write(line("a") + line("b"));
    await until("the refusal", () => client.refusals.length === 1);
    expect(client.refusals).toEqual([
      {
        error: { code: "store.full", message: "no space left for the database", temporary: true },
        first: 1,
        last: 2,
      },
    ]);
    fault = undefined;
    client.write(line("a") + line("b") + line("c"));
    expect(await client.answered(3)).toMatchObject({ accepted: 3, repeated: 0 });
    expect(store.stats()["outgoing.message"]).toBe(3);
    client.destroy();
  });

  it("a locked store closed the connection: the lock of another process is a temporary refusal", async () => {
    const other = new Database(join(dir, "queue.db"));
    other.exec("BEGIN IMMEDIATE");
    const client = new Client();
    client.write(line("a"));
    await until("the refusal", () => client.refusals.length === 1);
    expect(client.refusals[0]).toMatchObject({ error: { code: "store.busy", temporary: true }, first: 1 });
    other.exec("ROLLBACK");
    other.close();
    client.write(line("a"));
    expect(await client.answered(1)).toMatchObject({ accepted: 1, repeated: 0 });
    client.destroy();
  });

  it("a bug in counting ended the daemon: it refuses that batch for good, and is logged once with its stack", async () => {
    fault = new TypeError("x is not a function");
    const client = new Client();
    client.write(line("a"));
    await until("the refusal", () => client.refusals.length === 1);
    client.write(line("a"));
    await until("the next refusal", () => client.refusals.length === 2);
    expect(client.refusals[1]).toMatchObject({
      error: { code: "daemon.bug", temporary: false },
      first: 2,
      last: 2,
    });
    expect(logged).toEqual([
      expect.objectContaining({
        level: "error",
        event: "unit.failed",
        unit: "feed batch",
        code: "daemon.bug",
        stack: expect.stringContaining("TypeError"),
      }),
    ]);
    fault = undefined;
    const other = new Client();
    other.write(line("b"));
    expect(await other.answered(1)).toMatchObject({ accepted: 1 });
    client.write(line("a"));
    expect(await client.answered(1)).toMatchObject({ accepted: 1, repeated: 0 });
    client.destroy();
    other.destroy();
  });

  it("serves others while one client does not read its answers", async () => {
    const deaf = connect(path);
    deaf.pause();
    deaf.write("x\n".repeat(200_000));
    const client = new Client();
    client.write(line("a"));
    expect(await client.answered(1)).toMatchObject({ accepted: 1 });
    deaf.destroy();
    client.destroy();
  });

  it("a client that read nothing held up the end of the daemon: it is cut off after a moment", async () => {
    const other = new FakeClock();
    let batches = 0;
    const large = (): FeedReply => {
      batches++;
      // more than the buffers of a socket take
      return { accepted: 0, repeated: 0, rejected: 1, errors: [{ line: 1, reason: "x".repeat(8 << 20) }] };
    };
    const options = { name: "y", path: join(dir, "y.sock"), clock: other, ...reporting() };
    const second = await startFeedSocket({ ...options, feeder: { ...feeder, lines: large } });
    const deaf = connect(options.path);
    deaf.pause();
    deaf.on("error", () => deaf.destroy());
    deaf.write(line("a"));
    await until("the batch to be counted", () => batches === 1);
    let stopped = false;
    const stop = second.stop().then(() => {
      stopped = true;
    });
    await settle(50);
    expect(stopped).toBe(false);
    await other.advance(2000);
    await stop;
    expect([batches, other.pendingTimers]).toEqual([1, 0]);
    deaf.destroy();
  });

  it("takes the place of a socket that nobody listens on, but of nothing else", async () => {
    await expect(startFeedSocket({ name: "x", path, feeder, clock, ...reporting() })).rejects.toMatchObject({
      code: "daemon.port_in_use",
    });
    const file = join(dir, "file");
    writeFileSync(file, "precious");
    await expect(
      startFeedSocket({ name: "x", path: file, feeder, clock, ...reporting() }),
    ).rejects.toMatchObject({
      code: "daemon.state_unusable",
    });
    expect(lstatSync(file).isFile()).toBe(true);
  });

  it("cannot be made in a missing directory", async () => {
    const missing = join(dir, "missing", "feed.sock");
    await expect(
      startFeedSocket({ name: "x", path: missing, feeder, clock, ...reporting() }),
    ).rejects.toMatchObject({
      code: "daemon.state_unusable",
    });
  });

  it("removes a stale socket", async () => {
    const stale = join(dir, "stale.sock");
    const script = `require("node:net").createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, "SIGKILL"))`;
    expect(() => execFileSync(process.execPath, ["-e", script], { stdio: "ignore" })).toThrow();
    expect(lstatSync(stale).isSocket()).toBe(true);
    const second = await startFeedSocket({ name: "x", path: stale, feeder, clock, ...reporting() });
    const client = new Client(stale);
    client.write(line("z"));
    expect(await client.answered(1)).toMatchObject({ accepted: 1 });
    client.destroy();
    await second.stop();
    expect(lstatSync(stale, { throwIfNoEntry: false })).toBeUndefined();
  });
});

describe("a dry run of a feed", () => {
  const lines = (text: string) => text.split("\n").map((each, i) => ({ number: i + 1, text: each }));

  it("counted what it should only parse: it tells what is wrong and counts nothing", () => {
    const text = `${line("a")}bad\n${line("b")}`;
    expect(feeder.check(lines(text))).toEqual({
      accepted: 2,
      repeated: 0,
      rejected: 1,
      errors: [{ line: 2, reason: "not JSON" }],
    });
    expect(store.stats()).toMatchObject({ "feed.accepted": 0, "feed.rejected": 0, "outgoing.message": 0 });
  });

  it("names a hundred wrong lines at most", () => {
    const reply = feeder.check(lines("bad\n".repeat(500)));
    expect(reply.rejected).toBe(500);
    expect(reply.errors).toHaveLength(100);
  });
});
