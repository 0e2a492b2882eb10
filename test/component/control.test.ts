/** The control socket over fake services: requests that fail stay small, lists and imports end as they must. */
import { mkdtempSync, rmSync } from "node:fs";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ControlServer, startControl } from "../../src/control/server.ts";
import type { Services } from "../../src/control/services.ts";
import type { Feeder } from "../../src/feed/batch.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { makeFeeds } from "../../src/services/feeds.ts";
import { type ImportOptions, makeImport } from "../../src/services/import.ts";
import type { MailService } from "../../src/services/mails.ts";
import { Operations } from "../../src/services/operation.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { keepingLog } from "../support/keeping-log.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { testConfig } from "../support/test-config.ts";
import { until } from "../support/wait.ts";

type Item = Parameters<ImportOptions["importOne"]>[0];
type Line = Record<string, unknown>;

let dir: string;
let socket: string;
let server: ControlServer | undefined;
let logged: Line[];
/** Commands and details of the audit table. */
let audited: [string, unknown][];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "control-"));
  socket = join(dir, "control.sock");
  logged = [];
  audited = [];
});
afterEach(async () => {
  await server?.stop();
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** What the services that a test needs do; services that it does not give are not there. */
interface Fakes extends Omit<Partial<Services>, "mails" | "feeds">, Partial<Omit<ImportOptions, "log">> {
  readonly feeder?: Partial<Feeder>;
  readonly parsed?: MailService["parsed"];
  readonly parsing?: MailService["parsing"];
}

/** Starts the control socket, with the feeds `control` and `mta`. */
async function start({ feeder, parsed, parsing, importOne, wait, ...services }: Fakes): Promise<void> {
  const config = testConfig({ feed: [{ name: "mta", socket: "/nonexistent/mta.sock" }] });
  const log = keepingLog(logged);
  const operations = new Operations({
    log,
    clock: new FakeClock(),
    events: loggedEvents(log),
    audit: ({ command, detail }) => void audited.push([command, JSON.parse(detail)]),
    wake() {},
  });
  const all = {
    mails: {
      parsed: parsed ?? (async () => 0),
      parsing,
      import: makeImport(operations, { log, importOne: importOne!, wait: wait! }),
    },
    feeds: makeFeeds(operations, { config: () => config, feeder: feeder as Feeder }),
    ...services,
    archive: services.archive && { for: () => services.archive, ...(services.archive as object) },
  } as unknown as Services;
  server = await startControl({ ...config, control: { ...config.control, socket } }, all, log);
}

function open(method: string, path: string): { req: ClientRequest; response: Promise<IncomingMessage> } {
  const req = request({ socketPath: socket, method, path, headers: { host: "mailreportd" } });
  if (path === "/v1/import") req.setHeader("content-type", "application/octet-stream");
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    req.on("response", resolve);
    req.on("error", reject);
  });
  response.catch(() => {}); // for those who do not ask
  return { req, response };
}

async function linesOf(response: Promise<IncomingMessage>): Promise<Line[]> {
  let text = "";
  for await (const chunk of await response) text += String(chunk);
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
}

async function get(path: string): Promise<{ status: number; lines: Line[]; headers: Line }> {
  const { req, response } = open("GET", path);
  req.end();
  const { statusCode, headers } = await response;
  return { status: statusCode ?? 0, lines: await linesOf(response), headers };
}

function frame(header: unknown, body = "x"): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(json.length, 0);
  lengths.writeUInt32BE(body.length, 4);
  return Buffer.concat([lengths.subarray(0, 4), json, lengths.subarray(4), Buffer.from(body)]);
}

const file = (name: string) => frame({ file: name, form: "file" });

const stored = (outcome = "imported") => ({
  mailId: 1,
  outcome,
  reason: null,
  detail: null,
  items: [],
  reportIds: [],
  dsns: [],
  envelopeTo: [],
});
type Stored = Awaited<ReturnType<ImportOptions["importOne"]>>;

/** Imports; each file by its name: an error is thrown, a function decides. */
const importer =
  (faults: Readonly<Record<string, Error | (() => Promise<Stored>)>>): ImportOptions["importOne"] =>
  async ({ fileName }: Item) => {
    const fault = faults[fileName ?? ""];
    if (fault instanceof Error) throw fault;
    return fault ? fault() : (stored() as Stored);
  };

async function imported(...frames: Buffer[]): Promise<Line[]> {
  const { req, response } = open("POST", "/v1/import");
  req.end(Buffer.concat(frames));
  return linesOf(response);
}

describe("an import", () => {
  it("a locked store ended the daemon while the next frame was awaited: that item is refused, the next is stored", async () => {
    await start({ importOne: importer({ a: new MailreportError("store.busy") }) });
    const { req, response } = open("POST", "/v1/import");
    req.write(file("a"));
    await until("the failure", () => logged.length === 1); // long before the next frame
    req.end(file("b"));
    expect(await linesOf(response)).toEqual([
      {
        file: "a",
        outcome: null,
        reason: null,
        reports: [],
        mail: null,
        error: { code: "store.busy", message: "the database is locked by another process" },
      },
      { file: "b", outcome: "imported", reason: null, reports: [], mail: "m1" },
      { end: { count: 2, next: null, refused: 1, imported: 1 } },
    ]);
    expect(logged).toMatchObject([{ event: "unit.failed", unit: "import", file: "a", code: "store.busy" }]);
  });

  it("a full disk ended the daemon: what was stored is told, the rest is refused, and the next import works", async () => {
    const faults: Record<string, Error> = { b: new MailreportError("store.full") };
    await start({ importOne: importer(faults) });
    const lines = await imported(file("a"), file("b"), file("c"));
    expect(lines[0]).toMatchObject({ file: "a", outcome: "imported" });
    expect(lines[1]).toMatchObject({ file: "b", error: { code: "store.full" } });
    expect(lines.at(-1)).toMatchObject({
      end: { imported: 1, error: { code: "store.full", message: "no space left for the database" } },
    });
    // what was stored is audited, what was not is not
    expect(audited).toMatchObject([["import", { outcomes: { imported: 1 } }]]);
    delete faults.b;
    expect((await imported(file("b"), file("c"))).at(-1)).toEqual({
      end: { count: 2, next: null, imported: 2 },
    });
  });

  it("a bug in one item ended the daemon: it is refused and logged with its stack, the others are stored", async () => {
    await start({ importOne: importer({ b: new TypeError("x is not a function") }) });
    const lines = await imported(file("a"), file("b"), file("c"));
    expect(lines.map((line) => line.outcome)).toEqual(["imported", null, "imported", undefined]);
    expect(lines[1]).toMatchObject({ error: { code: "daemon.bug" } });
    expect(logged).toMatchObject([
      { level: "error", unit: "import", file: "b", stack: expect.stringContaining("TypeError") },
    ]);
  });

  it("a busy ingest process made an import fail: it is asked again until it has room", async () => {
    let refusals = 3;
    let waited = 0;
    await start({
      wait: async (ms) => {
        waited += ms;
      },
      importOne: async () => {
        if (refusals-- > 0) throw new MailreportError("ingest.busy");
        return stored() as Stored;
      },
    });
    expect((await imported(file("a"))).at(-1)).toEqual({ end: { count: 1, next: null, imported: 1 } });
    expect(waited).toBe(300);
    expect(logged).toEqual([]);
  });

  it("an ingest process that stays busy is not asked for ever", async () => {
    let waited = 0;
    await start({
      wait: async (ms) => {
        waited += ms;
      },
      importOne: importer({ a: new MailreportError("ingest.busy") }),
    });
    expect(await imported(file("a"), file("b"))).toMatchObject([
      { file: "a", error: { code: "ingest.busy" } },
      { file: "b", outcome: "imported" },
      { end: { count: 2 } },
    ]);
    expect(waited).toBe(60_000);
  });

  it.each([
    ["is not JSON", "{nonsense", "a frame header is not JSON"],
    ["lacks the form", { file: "b" }, "a frame header needs file and form"],
  ])(
    "a frame header that %s threw: the request is refused after the items before it",
    async (_, header, why) => {
      await start({ importOne: importer({}) });
      expect(await imported(file("a"), frame(header), file("c"))).toMatchObject([
        { file: "a", outcome: "imported" },
        { error: { code: "request.invalid", message: expect.stringContaining(why) } },
      ]);
      expect((await imported(file("c"))).at(-1)).toMatchObject({ end: { count: 1 } });
      expect(logged).toEqual([]);
    },
  );

  it("a frame that is cut off is refused", async () => {
    await start({ importOne: importer({}) });
    expect((await imported(file("a"), file("b").subarray(0, 9))).at(-1)).toMatchObject({
      error: { code: "request.invalid", message: expect.stringContaining("not whole") },
    });
  });

  it("stopping during an import ended the daemon with an error: items in progress are finished, and the client is told", async () => {
    let finish: (result: Stored) => void = () => {};
    const gate = new Promise<Stored>((resolve) => {
      finish = resolve;
    });
    await start({ importOne: importer({ a: () => gate }) });
    const { req, response } = open("POST", "/v1/import");
    req.write(file("a"));
    const lines = linesOf(response);
    await response;
    const stopped = server!.stop();
    finish(stored() as Stored);
    expect(await lines).toMatchObject([
      { file: "a", outcome: "imported" },
      { end: { count: 1, imported: 1, error: { code: "daemon.stopping" } } },
    ]);
    await stopped;
    server = undefined;
    expect(logged).toEqual([]);
  });

  it("a client that is gone leaves nothing waiting, and its failing item ends nothing", async () => {
    let fail: (error: Error) => void = () => {};
    const gate = new Promise<Stored>((_resolve, reject) => {
      fail = reject;
    });
    let begun = 0;
    await start({
      importOne: importer({
        a: () => {
          begun++;
          return gate;
        },
      }),
    });
    const { req } = open("POST", "/v1/import");
    req.write(file("a"));
    await until("the item to begin", () => begun === 1);
    req.destroy();
    fail(new MailreportError("store.full"));
    expect((await imported(file("b"))).at(-1)).toMatchObject({ end: { count: 1 } });
    expect(logged).toMatchObject([{ code: "store.full" }]);
  });
});

describe("a list", () => {
  const mails = (n: number, size = 10) =>
    Array.from({ length: n }, (_, i) => ({ day: i * 86_400, messages: "x".repeat(size) }));
  const days = (load: () => Promise<unknown>): Partial<Services> =>
    ({
      archive: { list: async () => ({ items: await load(), next: null }) },
    }) as unknown as Partial<Services>;

  it("an error that nobody expects is answered with its code, logged with its stack, and the next request works", async () => {
    let broken = true;
    await start(
      days(async () => {
        if (broken) throw new TypeError("x is not a function");
        return mails(2);
      }),
    );
    const { status, lines } = await get("/v1/days");
    expect([status, lines]).toMatchObject([500, [{ error: { code: "daemon.bug" } }]]);
    expect(logged).toMatchObject([
      {
        level: "error",
        event: "unit.failed",
        unit: "control request",
        url: "/v1/days",
        stack: expect.stringContaining("TypeError"),
      },
    ]);
    broken = false;
    expect((await get("/v1/days")).lines.at(-1)).toEqual({ end: { count: 2, next: null } });
  });

  it("a store that cannot be read now is a 503 with its code", async () => {
    await start(days(() => Promise.reject(new MailreportError("store.io", { temporary: true }))));
    const { status, lines } = await get("/v1/days");
    expect([status, lines]).toMatchObject([503, [{ error: { code: "store.io" } }]]);
    expect(logged).toMatchObject([{ level: "warn", unit: "control request", code: "store.io" }]);
  });

  it("an error after the first page ends the list with an error record", async () => {
    let pages = 0;
    const records = async () => {
      if (pages++ > 0) throw new MailreportError("store.corrupt");
      return { items: [], next: "1.1.1" };
    };
    await start({ archive: { list: records } } as unknown as Partial<Services>);
    const { status, lines } = await get("/v1/records");
    expect([status, lines]).toMatchObject([200, [{ error: { code: "store.corrupt" } }]]);
  });

  it("a client that goes away in the middle is noticed: no more pages are loaded", async () => {
    let pages = 0;
    const records = async () => {
      pages++;
      const items = Array.from({ length: 500 }, () => ({ begin: 0, end: 0, raw: "x".repeat(2000) }));
      return { items, next: "1.1.1" };
    };
    await start({ archive: { list: records } } as unknown as Partial<Services>);
    const { req, response } = open("GET", "/v1/records");
    req.end();
    (await response).on("error", () => {});
    await until("the server to wait for the client", async () => {
      const before = pages;
      await get("/nothing"); // a request and its answer later
      return pages > 0 && pages === before;
    });
    req.destroy();
    await until("the list to end", async () => {
      const before = pages;
      await get("/nothing");
      await get("/nothing");
      return pages === before;
    });
    await server!.stop(); // waits for nothing
    server = undefined;
    expect(logged).toEqual([]);
  });

  describe("whose client goes away", () => {
    /** An archive whose answers do not come; those of an asker end when it is gone. */
    function silent() {
      const signals: AbortSignal[] = [];
      const answer = (signal: AbortSignal) => {
        signals.push(signal);
        return new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(new MailreportError("archive.cancelled")));
        });
      };
      const archive = {
        for: ({ signal }: { signal: AbortSignal }) => ({
          list: (name: string, _: unknown, { after }: { after?: string }) =>
            name === "records" && after === undefined
              ? Promise.resolve({ items: [{ begin: 0, end: 0 }], next: "1.1.1" })
              : answer(signal),
          report: () => answer(signal),
          rawMail: () => answer(signal),
        }),
      };
      return { signals, services: { archive } as unknown as Partial<Services> };
    }

    it.each(["/v1/records", "/v1/days", "/v1/reports/r1", "/v1/received/m1/raw"])(
      "%s: its question ran on: it is cancelled, without a log line",
      async (path) => {
        const { signals, services } = silent();
        await start(services);
        const { req } = open("GET", path);
        req.on("error", () => {});
        req.end();
        await until("the question to be asked", () => signals.length === 1);
        expect(signals[0]!.aborted).toBe(false);
        req.destroy();
        await until("the question to be cancelled", () => signals[0]!.aborted);
        await get("/nothing"); // a request and its answer later
        expect(logged).toEqual([]);
      },
    );

    it("before its question is asked: it is cancelled from the beginning", async () => {
      const { signals, services } = silent();
      let parsed: (unparsed: number) => void = () => {};
      let waiting = false;
      await start({
        ...services,
        parsed: () => {
          waiting = true;
          return new Promise((resolve) => {
            parsed = resolve;
          });
        },
      });
      const { req } = open("GET", "/v1/reports/r1");
      req.on("error", () => {});
      req.end();
      await until("the request", () => waiting);
      const gone = new Promise((resolve) => req.on("close", resolve));
      req.destroy();
      await gone;
      await get("/nothing");
      parsed(0);
      await until("the question", () => signals.length === 1);
      await until("it to be cancelled", () => signals[0]!.aborted);
    });

    it("after the whole answer: nothing is cancelled", async () => {
      const signals: AbortSignal[] = [];
      const archive = {
        for: ({ signal }: { signal: AbortSignal }) => {
          signals.push(signal);
          return {
            list: async () => ({ items: [], next: null }),
            receivedMail: async () => undefined,
          };
        },
      };
      await start({ archive } as unknown as Partial<Services>);
      expect((await get("/v1/days")).status).toBe(200);
      expect((await get("/v1/received/m1")).status).toBe(404);
      await server!.stop(); // all connections are closed
      server = undefined;
      expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
    });
  });

  it("mail that is not parsed yet was missing silently: the end record and a header tell how much", async () => {
    const waits: boolean[] = [];
    let parsing: "running" | "paused" | "failing" = "running";
    await start({
      ...days(async () => mails(1)),
      parsed: async (all) => {
        waits.push(all);
        return all ? 0 : 7;
      },
      parsing: () => parsing,
      daemon: { stats: async () => ({ uptime: 1 }) } as unknown as Services["daemon"],
    });
    expect((await get("/v1/days")).lines.at(-1)).toEqual({ end: { count: 1, next: null, unparsed: 7 } });
    expect((await get("/v1/days?wait=true")).lines.at(-1)).toEqual({ end: { count: 1, next: null } });
    expect((await get("/v1/stats")).headers["mailreport-unparsed"]).toBe("7");
    expect((await get("/v1/stats?wait=true")).headers["mailreport-unparsed"]).toBeUndefined();
    expect(waits).toEqual([false, true, false, true]);
    expect((await get("/v1/stats")).headers["mailreport-parsing"]).toBeUndefined();
    parsing = "failing";
    expect((await get("/v1/stats")).headers["mailreport-parsing"]).toBe("failing");
    expect((await get("/v1/days")).lines.at(-1)).toEqual({
      end: { count: 1, next: null, unparsed: 7, parsing: "failing" },
    });
  });
});

describe("a feed of the control socket", () => {
  it("a long one held up the daemon: 500 lines are counted at once, and an error says how far it came", async () => {
    const batches: [number, number][] = [];
    let turns = 0;
    const failAt = { line: 0 };
    await start({
      feeder: {
        lines: (_name, lines) => {
          const first = lines[0]!.number;
          if (first === failAt.line) throw new MailreportError("store.full");
          setImmediate(() => turns++);
          batches.push([first, lines.length]);
          const errors = lines.slice(0, 60).map(({ number, text }) => ({ line: number, reason: text ?? "" }));
          return { accepted: 400, repeated: 1, rejected: 100, errors };
        },
      },
    });
    const post = async (): Promise<Line[]> => {
      const { req, response } = open("POST", "/v1/feed?first=11");
      req.setHeader("content-type", "application/x-ndjson");
      req.end("{}\n".repeat(1200));
      return linesOf(response);
    };
    const [total] = await post();
    expect(batches).toEqual([
      [11, 500],
      [511, 500],
      [1011, 200],
    ]);
    expect(turns).toBeGreaterThanOrEqual(2);
    expect(total).toMatchObject({ accepted: 1200, repeated: 3, rejected: 300 });
    expect(total?.errors).toHaveLength(100);
    failAt.line = 1011;
    expect(await post()).toMatchObject([
      {
        error: {
          code: "store.full",
          message: expect.stringMatching(/lines 11 to 1010 were counted, no others$/),
        },
      },
    ]);
    const detail = { feed: "control", first: 11, repeated: 3, reason: null };
    expect(audited).toEqual([
      ["feed", { ...detail, accepted: 1200, rejected: 300 }],
      ["feed", { ...detail, accepted: 800, rejected: 200, repeated: 2 }],
    ]);
  });

  it("a name that is no feed made one: it is refused, and the known ones are named", async () => {
    const fed: unknown[] = [];
    await start({
      feeder: {
        lines: (name, lines) => {
          fed.push([name, lines]);
          return { accepted: 1, repeated: 0, rejected: 0, errors: [] };
        },
        check: (lines) => {
          fed.push(["check", lines]);
          return { accepted: 1, repeated: 0, rejected: 0, errors: [] };
        },
      },
    });
    const post = async (query: string): Promise<Line[]> => {
      const { req, response } = open("POST", `/v1/feed${query}`);
      req.setHeader("content-type", "application/x-ndjson");
      req.end("{}\n");
      return linesOf(response);
    };
    expect(await post("?name=mat")).toMatchObject([
      { error: { code: "feed.unknown", message: "no such feed: mat (known feeds: control, mta)" } },
    ]);
    await post("?name=mta&first=3");
    await post("?dry_run=true");
    expect(fed).toEqual([
      ["mta", [{ number: 3, text: "{}" }]],
      ["check", [{ number: 1, text: "{}" }]],
    ]);
  });
});
