/** Delivery with faults: real SQLite, a real SMTP server, a fake clock, DNS as data. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SMTPConnection from "nodemailer/lib/smtp-connection";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Config } from "../../src/config/schema.ts";
import { Delivery } from "../../src/deliver/runner.ts";
import type { Resolver } from "../../src/dns/resolver.ts";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { Log, LogEvent, LogFields } from "../../src/lib/log/log.ts";
import { outgoingId } from "../../src/model/outgoing.ts";
import type { DsnReport } from "../../src/model/report.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { counted, DAY, evaluation, newMessage } from "../support/events.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { type FaultyStore, faultyStore } from "../support/faulty-store.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { canMount, SmallDisk } from "../support/small-disk.ts";
import { openSink, type SmtpSink } from "../support/smtp-sink.ts";
import { testConfig } from "../support/test-config.ts";
import { until } from "../support/wait.ts";

const HOUR = 3_600_000;
const ZONE = `
one.example MX 10 mx.example
two.example MX 10 mx.example
mx.example A 127.0.0.1
`;

let dir: string;
let clock: FakeClock;
let real: QueueStore;
let faults: FaultyStore;
let sink: SmtpSink;
let config: Config;
let resolver: Resolver;
let delivery: Delivery;
let lines: { event: LogEvent; level: string; fields: LogFields }[];

const log: Log = {
  debug: (event, fields = {}) => void lines.push({ level: "debug", event, fields }),
  info: (event, fields = {}) => void lines.push({ level: "info", event, fields }),
  warn: (event, fields = {}) => void lines.push({ level: "warn", event, fields }),
  error: (event, fields = {}) => void lines.push({ level: "error", event, fields }),
  child: () => log,
};
const logged = (event: LogEvent): LogFields[] =>
  lines.filter((line) => line.event === event).map(({ fields }) => fields);

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "delivery-"));
  clock = new FakeClock("2026-11-20T04:00:00Z");
  sink = await openSink();
  lines = [];
  config = deliverConfig();
  resolver = zoneResolver(parseZone(ZONE));
  open();
});

afterEach(async () => {
  vi.restoreAllMocks();
  faults.repair();
  await delivery.stop(0);
  real.close();
  await sink.close();
  rmSync(dir, { recursive: true, force: true });
});

function deliverConfig(more: Record<string, unknown> = {}): Config {
  return testConfig({ deliver: { port: sink.port, allow_private: true, ip_family: "4", ...more } });
}

/** What the daemon does at start, without starting the delivery. */
function open(path = join(dir, "queue.db")): void {
  real = openQueueStore(path);
  faults = faultyStore(real);
  delivery = new Delivery({
    config: () => config,
    store: faults.store,
    resolver: {
      txt: (name) => resolver.txt(name),
      mx: (name) => resolver.mx(name),
      addresses: (name, family) => resolver.addresses(name, family),
      ptr: (ip) => resolver.ptr(ip),
    },
    clock,
    log,
    events: loggedEvents(log, clock),
    random: () => 0.5,
  });
}

/** The end of the process without any settling, and a new one. */
async function crash(): Promise<void> {
  faults.failWith("store.io", "settle", "releaseEnvelopes", "noteBounce");
  await delivery.stop(0);
  real.close();
  open();
}

/** A composed message with one envelope, due now. Returns the envelope's id. */
function queue(id: string, rcpt: string): string {
  const hash = id.padStart(16, "0");
  real.count("f", [counted(evaluation(), { policyHash: hash })], DAY);
  const outgoing = outgoingId("dmarc", "example.com", hash, DAY);
  const now = epochSeconds(clock);
  real.compose(outgoing, [newMessage(id, [rcpt], now, outgoing)], now, null);
  delivery.wake();
  return `${id}00000001`;
}

const stateOf = (id: string): string | undefined => real.envelope(id)?.state;

/** Waits for a state; time passes by a second at a time, but not while an attempt talks to the real server. */
async function reaches(id: string, state: string): Promise<void> {
  await until(`${id} to be ${state}`, async () => {
    if (stateOf(id) === state) return true;
    if (delivery.stats()["mta.session.now"] === 0) await clock.advance(1000);
    return false;
  });
}

/** Lets what is due now run, and waits until no attempt is in progress. */
async function idle(): Promise<void> {
  await clock.advance(0);
  await until("the attempts to end", () => delivery.stats()["mta.session.now"] === 0);
  await settle();
}

const dsn = (rcpt: string, action: "failed" | "delayed" = "failed"): DsnReport =>
  ({
    kind: "dsn",
    reportingMta: "mx.example",
    recipients: [
      {
        finalRecipient: rcpt,
        originalRecipient: null,
        action,
        status: "5.1.1",
        remoteMta: null,
        diagnostic: "550 5.1.1 no such user",
      },
    ],
  }) as unknown as DsnReport;

describe("an outcome that cannot be committed", () => {
  it.each(["store.full", "store.busy", "store.io"] as const)(
    "%s in settle ended the daemon: the outcome is kept, committed later, and nothing is sent twice",
    async (code) => {
      const first = queue("0a0a0a0a", "a@one.example");
      faults.failWith(code, "settle");
      delivery.start();
      await idle();
      expect(sink.got).toHaveLength(1);
      expect(delivery.stats()).toMatchObject({ "mta.uncommitted": 1, "mta.delivered": 0 });
      const second = queue("0b0b0b0b", "b@two.example");
      await clock.advance(HOUR);
      expect(sink.got).toHaveLength(1); // no more mail while outcomes cannot be kept
      expect(stateOf(first)).toBe("inflight");
      const tried = faults.calls("settle");
      expect(tried).toBeGreaterThan(5);
      expect(tried).toBeLessThan(80); // at most one a minute after the first ones
      faults.repair();
      await reaches(first, "delivered");
      await reaches(second, "delivered");
      expect(sink.got.map(({ rcpt }) => rcpt)).toEqual(["a@one.example", "b@two.example"]);
      expect(delivery.stats()).toMatchObject({ "mta.uncommitted": 0, "mta.delivered": 2 });
      expect(real.attempts(first)).toHaveLength(1);
      expect(logged("deliver.problem")).toHaveLength(1);
      expect(logged("deliver.resumed")).toHaveLength(1);
    },
  );

  it("a full disk at the end of the process: the attempt is told lost, and sent again after the next start", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    faults.failWith("store.full", "settle");
    delivery.start();
    await idle();
    await delivery.stop(1000);
    expect(logged("deliver.problem").at(-1)).toMatchObject({ id, outcome: "delivered" });
    real.close();
    open();
    delivery.start();
    await reaches(id, "delivered");
    expect(sink.got).toHaveLength(2);
    expect(sink.got[0]!.raw.equals(sink.got[1]!.raw)).toBe(true);
  });

  it("is committed by stop, when the store works again by then", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    faults.failWith("store.busy", "settle");
    delivery.start();
    await idle();
    faults.repair();
    await delivery.stop(1000);
    expect(stateOf(id)).toBe("delivered");
  });

  it("a bug in settling left the envelope in flight for ever: it is deferred with the error", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    sink.refuse.set("a@one.example", { code: 451, text: "greylisted" });
    const { settle: works } = real;
    let calls = 0;
    Object.assign(faults.store, {
      settle: (...args: Parameters<QueueStore["settle"]>) => {
        if (++calls === 1) throw new TypeError("a bug in settling");
        return works(...args);
      },
    });
    delivery.start();
    await idle();
    expect(real.envelope(id)).toMatchObject({
      state: "pending",
      attempts: 1,
      last: { text: expect.stringContaining("a bug in settling") },
    });
    expect(logged("unit.failed")[0]).toMatchObject({ code: "daemon.bug", stack: expect.any(String) });
  });
});

describe("an attempt that fails by an error of ours", () => {
  const bug = (): never => {
    throw new Error("boom");
  };
  it.each<[string, () => void]>([
    [
      "an exception of the resolver",
      () => {
        const works = resolver;
        resolver = { ...works, mx: (name) => (name === "one.example" ? bug() : works.mx(name)) };
      },
    ],
    [
      "a rejection of the resolver",
      () => {
        const works = resolver;
        resolver = {
          ...works,
          mx: async (name) => (name === "one.example" ? bug() : works.mx(name)),
        };
      },
    ],
    [
      "an exception inside the SMTP library",
      () => {
        const works = SMTPConnection.prototype.send;
        vi.spyOn(SMTPConnection.prototype, "send").mockImplementation(function (
          this: SMTPConnection,
          ...args: Parameters<typeof works>
        ) {
          if (String(args[0].to) === "a@one.example") bug();
          return works.apply(this, args);
        } as typeof works);
      },
    ],
    [
      "an error when the message is read",
      () => {
        const works = real.rawMessage;
        Object.assign(faults.store, { rawMessage: (id: string) => (id === "0a0a0a0a" ? bug() : works(id)) });
      },
    ],
  ])("%s ended the daemon: the envelope is deferred with the error, the next one runs", async (_, breaks) => {
    breaks();
    const bad = queue("0a0a0a0a", "a@one.example");
    const good = queue("0b0b0b0b", "b@two.example");
    delivery.start();
    await idle();
    expect(stateOf(good)).toBe("delivered");
    expect(real.envelope(bad)).toMatchObject({
      state: "pending",
      attempts: 1,
      last: { code: null, text: expect.stringContaining("boom") },
    });
    expect(real.envelope(bad)!.nextAt).toBeGreaterThan(epochSeconds(clock));
    expect(real.attempts(bad)).toMatchObject([{ result: "temporary" }]);
  });

  it("a bug is logged with its stack, once for each attempt", async () => {
    resolver = { ...resolver, mx: bug };
    queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await idle();
    expect(logged("unit.failed")).toMatchObject([
      { unit: "delivery", rcpt: "a@one.example", code: "daemon.bug", stack: expect.stringContaining("boom") },
    ]);
  });

  it("an https address that is none rejected the attempt: it is deferred", async () => {
    const now = epochSeconds(clock);
    real.count("f", [counted(evaluation(), { policyHash: "0".repeat(15) + 1 })], DAY);
    const outgoing = outgoingId("dmarc", "example.com", "0".repeat(15) + 1, DAY);
    const message = newMessage("0c0c0c0c", ["x"], now, outgoing);
    const envelopes = [{ ...message.envelopes[0]!, rcpt: "https://[bad", transport: "https" as const }];
    real.compose(outgoing, [{ ...message, envelopes }], now, null);
    delivery.start();
    await idle();
    expect(stateOf("0c0c0c0c00000001")).toBe("pending");
  });

  it.each([
    [
      "a wrong password",
      (line: string) => (line.startsWith("AUTH") ? "535 5.7.8 no" : "250-hi\r\n250 AUTH PLAIN"),
    ],
    ["no AUTH", (line: string) => (line.startsWith("AUTH") ? "502 5.5.1 what" : "250 hi")],
  ])("%s at the relay made envelopes fail for good: they wait, and the log says why", async (_, answer) => {
    const relay = createServer((socket) => {
      socket.on("error", () => socket.destroy());
      socket.on("data", (chunk) => socket.write(`${answer(String(chunk))}\r\n`));
      socket.write("220 relay\r\n");
    });
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
    const { port } = relay.address() as AddressInfo;
    writeFileSync(join(dir, "password"), "secret\n");
    config = deliverConfig({
      relay: `127.0.0.1:${port}`,
      relay_tls: "none",
      relay_user: "u",
      relay_password_file: join(dir, "password"),
    });
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await clock.advance(1000);
    await until("an attempt", () => real.attempts(id).length === 1);
    expect(real.envelope(id)).toMatchObject({ state: "pending" });
    expect(logged("deliver.problem")).toMatchObject([
      { id, host: "127.0.0.1", reason: "the relay refuses the login" },
    ]);
    relay.close();
  });

  it("a missing relay password ended the daemon: deferred with the file's name, sent when it is there", async () => {
    const file = join(dir, "password");
    config = deliverConfig({
      relay: `127.0.0.1:${sink.port}`,
      relay_user: "me",
      relay_password_file: file,
    });
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await idle();
    expect(real.envelope(id)).toMatchObject({ state: "pending" });
    expect(real.envelope(id)?.last?.text).toMatch(/relay_password_file .*ENOENT.*password/);
    expect(logged("deliver.problem")).toHaveLength(1);
    writeFileSync(file, "secret\n");
    config = deliverConfig({ relay: `127.0.0.1:${sink.port}`, relay_password_file: file }); // the sink has no AUTH
    await clock.advance(HOUR);
    await reaches(id, "delivered");
  });
});

describe("leasing", () => {
  it.each(["store.busy", "store.full"] as const)("%s in lease: tried again by the clock", async (code) => {
    const id = queue("0a0a0a0a", "a@one.example");
    faults.failWith(code, "leaseEnvelopes");
    delivery.start();
    await clock.advance(5 * 60_000);
    expect(stateOf(id)).toBe("pending");
    const tried = faults.calls("leaseEnvelopes");
    expect(tried).toBeGreaterThan(3);
    expect(tried).toBeLessThan(10);
    faults.repair();
    await clock.advance(60_000);
    await reaches(id, "delivered");
  });

  it("an error when the next due time is asked for: asked again", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    faults.failWith("store.io", "nextEnvelopeDue", "pauses");
    delivery.start();
    await clock.advance(5 * 60_000);
    faults.repair();
    await clock.advance(60_000);
    await reaches(id, "delivered");
  });
});

describe("start and stop", () => {
  it("a full disk ended the start: delivery waits, tries again, and then sends what was in flight", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    real.leaseEnvelopes(epochSeconds(clock), 1, new Set());
    faults.failWith("store.full", "recoverInflight");
    delivery.start();
    await clock.advance(10 * 60_000);
    expect(stateOf(id)).toBe("inflight");
    expect(faults.calls("leaseEnvelopes")).toBe(0);
    expect(sink.got).toEqual([]);
    faults.repair();
    await clock.advance(60_000);
    await reaches(id, "delivered");
  });

  it("a damaged database still ends the start", () => {
    faults.failWith("store.corrupt", "recoverInflight");
    expect(() => delivery.start()).toThrow(/damaged/);
  });

  it("a full disk at the end rejected the stop: the next start puts the attempt back", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    let go = (): void => {};
    sink.hold = new Promise((resolve) => {
      go = resolve;
    });
    delivery.start();
    await clock.advance(0);
    await until("the message to arrive", () => sink.got.length === 1);
    faults.failWith("store.full", "releaseEnvelopes");
    const stopping = delivery.stop(1000);
    await settle();
    await clock.advance(1000);
    await stopping;
    expect(logged("unit.failed")).toMatchObject([{ code: "store.full" }]);
    sink.hold = undefined;
    go();
    await until("the attempt to end", () => delivery.stats()["mta.session.now"] === 0);
    expect(stateOf(id)).toBe("inflight"); // what comes after the stop is not written
    await crash();
    delivery.start();
    await reaches(id, "delivered");
  });
});

describe("a bounce", () => {
  it("of a delivered envelope left it delivered: it is failed in the list, the counters and the history", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await reaches(id, "delivered");
    delivery.bounced("0a0a0a0a", dsn("a@one.example"));
    expect(real.listEnvelopes({ states: ["failed"] }, { limit: 10 }).items).toMatchObject([
      { id, last: { enhanced: "5.1.1", text: expect.stringContaining("no such user") } },
    ]);
    expect(real.stats()).toMatchObject({ "queue.delivered": 0, "queue.failed": 1 });
    expect(real.attempts(id).map(({ result }) => result)).toEqual(["delivered", "permanent"]);
    expect(real.suppression("a@one.example", epochSeconds(clock))).toMatchObject({ author: "automatic" });
  });

  it("that says delayed changes the last reply only", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await reaches(id, "delivered");
    delivery.bounced("0a0a0a0a", dsn("a@one.example", "delayed"));
    expect(real.envelope(id)).toMatchObject({ state: "delivered", last: { text: /bounced \(delayed\)/ } });
    expect(real.suppressions()).toEqual([]);
  });

  it("on a full disk threw out of the intake of mail: it is kept and recorded later", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await reaches(id, "delivered");
    faults.failWith("store.full", "noteBounce");
    delivery.bounced("0a0a0a0a", dsn("a@one.example"));
    await clock.advance(60_000);
    expect(stateOf(id)).toBe("delivered");
    faults.repair();
    await clock.advance(60_000);
    expect(stateOf(id)).toBe("failed");
    expect(real.attempts(id)).toHaveLength(2);
  });

  it("while the database cannot be read was taken for a bug and lost: it is kept and recorded later", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await reaches(id, "delivered");
    faults.fail(() => new MailreportError("store.io"), "envelopesOf"); // as the store names a read error
    delivery.bounced("0a0a0a0a", dsn("a@one.example"));
    expect(delivery.stats()["mta.uncommitted"]).toBe(1);
    faults.repair();
    await clock.advance(60_000);
    expect(stateOf(id)).toBe("failed");
  });

  it("that was accepted while the daemon stopped was lost: it is recorded until the delivery is closed", async () => {
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await reaches(id, "delivered");
    await delivery.stop(0);
    delivery.bounced("0a0a0a0a", dsn("a@one.example"));
    expect(stateOf(id)).toBe("failed");
    faults.failWith("store.full", "noteBounce");
    delivery.bounced("0a0a0a0a", dsn("a@one.example", "delayed"));
    delivery.close();
    expect(logged("deliver.problem")).toContainEqual({
      what: "bounce",
      message: "0a0a0a0a",
      reason: "not committed before the end of the process",
    });
    expect(clock.pendingTimers).toBe(0);
  });

  it("with an error of ours is logged, and delivery goes on", async () => {
    faults.fail(() => new TypeError("boom"), "envelopesOf");
    delivery.bounced("0a0a0a0a", dsn("a@one.example"));
    expect(logged("unit.failed")).toMatchObject([{ unit: "bounce", code: "daemon.bug" }]);
    const id = queue("0a0a0a0a", "a@one.example");
    delivery.start();
    await reaches(id, "delivered");
  });
});

describe("suppression", () => {
  const operators = (target: string) =>
    ({
      target,
      until: null,
      reason: "asked for",
      author: "operator",
      createdAt: epochSeconds(clock),
      step: 0,
    }) as const;

  it.each(["a@one.example", "@one.example", "example.com"])(
    "of %s sent what was queued before: nothing is sent, and the envelope says why",
    async (target) => {
      real.suppress(operators(target));
      const id = queue("0a0a0a0a", "a@one.example");
      delivery.start();
      await idle();
      expect(sink.got).toEqual([]);
      expect(real.envelope(id)).toMatchObject({ state: "failed", last: { text: /asked for/ } });
      expect(real.suppressions()).toHaveLength(1);
    },
  );

  it("an automatic one is cleared by a delivery, an operator's is not", async () => {
    const now = epochSeconds(clock);
    real.suppress({ ...operators("b@two.example"), until: now - 1 });
    real.suppress({ ...operators("a@one.example"), author: "automatic", until: now - 1 });
    queue("0a0a0a0a", "a@one.example");
    const second = queue("0b0b0b0b", "b@two.example");
    delivery.start();
    await reaches(second, "delivered");
    expect(real.suppressions().map(({ target }) => target)).toEqual(["b@two.example"]);
  });

  it("two refused envelopes of one address count once; the next refusal in a row counts longer", async () => {
    sink.refuse.set("a@one.example", { code: 550, text: "5.1.1 no such user" });
    const first = queue("0a0a0a0a", "a@one.example");
    const second = queue("0b0b0b0b", "a@one.example");
    delivery.start();
    await idle();
    expect([stateOf(first), stateOf(second)]).toEqual(["failed", "failed"]);
    const [entry] = real.suppressions();
    expect(entry).toMatchObject({ author: "automatic", step: 0 });
    clock.jump(8 * 24 * HOUR);
    const third = queue("0c0c0c0c", "a@one.example");
    await reaches(third, "failed");
    expect(real.suppressions()).toMatchObject([{ author: "automatic", step: 1 }]);
  });
});

describe.skipIf(!canMount())("on a file system without space (needs root to mount one)", () => {
  let small: SmallDisk;
  beforeEach(() => {
    small = new SmallDisk("4m");
  });
  afterEach(() => small.remove());

  it("the attempt is committed when space comes back, the next one runs, and each is sent once", async () => {
    real.close();
    open(join(small.path, "queue.db"));
    const first = queue("0a0a0a0a", "a@one.example");
    let go = (): void => {};
    sink.hold = new Promise((resolve) => {
      go = resolve;
    });
    delivery.start();
    await clock.advance(0);
    await until("the message to arrive", () => sink.got.length === 1);
    small.fill();
    sink.hold = undefined;
    go();
    await until("the store to refuse", () => delivery.stats()["mta.uncommitted"] === 1);
    expect(logged("deliver.problem")).toMatchObject([{ code: "store.full", id: first }]);
    await clock.advance(60_000);
    expect(stateOf(first)).toBe("inflight");
    small.free();
    await reaches(first, "delivered");
    const second = queue("0b0b0b0b", "b@two.example");
    await reaches(second, "delivered");
    expect(sink.got.map(({ rcpt }) => rcpt)).toEqual(["a@one.example", "b@two.example"]);
    await delivery.stop(0);
    real.close();
    open(join(small.path, "queue.db"));
    expect(real.stats()).toMatchObject({ "queue.delivered": 2, "queue.envelope.inflight": 0 });
  });
});
