/** Questions to the archive of the built daemon: clients that go away, and more of them than it can answer. */
import { type ClientRequest, request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { ndjson, TestDaemon } from "../support/daemon.ts";
import { dmarcXml } from "../support/report-mail.js";
import { until } from "../support/wait.ts";

/** Blocks of 256 records that are added to report r1: to look at ten million records takes a while. */
const BLOCKS = 40_000;
/** More than run and wait. */
const CLIENTS = 130;
/** All records of r1 by a source that it does not have: each of them is looked at. */
const EXPORT = "/v1/records?report=r1&source=203.0.113.9";

let d: TestDaemon;

beforeAll(async () => {
  d = await new TestDaemon().start();
  expect(d.ctlInput(dmarcXml({ id: "large" }), "import", "-").code).toBe(0);
  const archive = openDatabase(join(d.dir, "var", "archive.db"));
  const record = archive.prepare<[], Buffer>("SELECT body FROM record_block").pluck().get()!;
  archive
    .prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       INSERT INTO record_block SELECT (1 << 20) + i, ?, NULL FROM n`,
    )
    .run(BLOCKS, Buffer.concat(Array<Buffer>(256).fill(record)));
  archive.close();
});
afterAll(async () => {
  await d.stop();
  d.remove();
});

interface Client {
  readonly req: ClientRequest;
  /** Resolves with the whole answer; never when the client goes away. */
  readonly answer: Promise<{ readonly status: number | undefined; readonly text: string }>;
}

function ask(path: string): Client {
  const req = request({ socketPath: d.socket, path, headers: { host: "mailreportd" } });
  const answer = new Promise<Awaited<Client["answer"]>>((resolve) => {
    req.on("response", (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () => resolve({ status: response.statusCode, text }));
      response.on("error", () => undefined);
    });
  });
  req.on("error", () => undefined);
  req.end();
  return { req, answer };
}

const counters = async (): Promise<Record<string, number>> =>
  JSON.parse((await ask("/v1/stats").answer).text) as Record<string, number>;

it("exports of clients that were gone went on, and all others waited: they are cancelled; too many get a 503", async () => {
  const refused: string[] = [];
  const clients = Array.from({ length: CLIENTS }, () => ask(EXPORT));
  for (const { answer } of clients)
    void answer.then(({ status, text }) => {
      if (status === 503) refused.push(text);
    });
  await until("some to be refused", () => refused.length > 0);
  expect(JSON.parse(refused[0]!)).toMatchObject({ error: { code: "archive.busy" } });
  expect((await ask("/v1/reports/r1").answer).status).toBe(200); // by id: waits for none of them
  const busy = await counters();
  expect(busy["archive.questions.waiting"]).toBeGreaterThan(0);
  expect(busy["archive.refused"]).toBeGreaterThan(0);

  for (const { req } of clients) req.destroy();
  await until("the threads to be free", async () => {
    const now = await counters();
    return now["archive.questions.now"] === 0 && now["archive.questions.waiting"] === 0;
  });
  expect((await counters())["archive.cancelled"]).toBeGreaterThan(0);

  const { status, text } = await ask(EXPORT).answer;
  expect([status, ndjson(text)]).toEqual([200, [{ end: { count: 0, next: null } }]]);
  // one line for the overload, whatever the number of refused questions
  const unit = "question to the archive";
  const failed = d.events("unit.failed").filter(({ code }) => code !== "store.busy"); // while the records were added
  expect(failed).toMatchObject([{ unit, code: "archive.busy" }]);
  expect(d.events("store.problem")).toEqual([]);
});

it("a daemon that stopped waited for a long export", async () => {
  const clients = Array.from({ length: 20 }, () => ask(EXPORT));
  await until("them to wait", async () => ((await counters())["archive.questions.waiting"] ?? 0) > 0);
  expect(await d.stop()).toBe(0);
  expect(d.events("unit.failed").filter(({ unit }) => unit === "stop")).toEqual([]);
  for (const { req } of clients) req.destroy();
});
