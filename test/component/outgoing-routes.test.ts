/** The control routes about outgoing reports, over a real queue.db. */
import { request } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ControlServer, startControl } from "../../src/control/server.ts";
import type { Services } from "../../src/control/services.ts";
import { Operations } from "../../src/services/operation.ts";
import { makeOutgoing } from "../../src/services/outgoing.ts";
import { sessions } from "../support/events.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { ReportRun } from "../support/report-run.ts";

let run: ReportRun;
let socketPath: string;
let server: ControlServer;

beforeEach(async () => {
  run = new ReportRun();
  socketPath = join(run.dir, "control.sock");
  const { log, store, clock } = run;
  const operations = new Operations({
    log,
    clock,
    events: loggedEvents(log),
    audit: (entry) => store.audit(entry),
    wake() {},
  });
  const { requests } = run.scheduler;
  const outgoing = makeOutgoing(operations, { requests, store, clock, log });
  const services = new Proxy({ queue: store, outgoing } as unknown as Services, {
    get: (given, name) => Reflect.get(given, name) ?? {},
  });
  const control = { ...run.config.control, socket: socketPath };
  server = await startControl({ ...run.config, control }, services, log);
});
afterEach(async () => {
  await server.stop();
  await run.end();
});

async function status(id: string): Promise<{ code: number | undefined; body: Record<string, unknown> }> {
  const path = `/v1/outgoing/${encodeURIComponent(id)}`;
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, headers: { host: "mailreportd" } }, async (response) => {
      let text = "";
      for await (const chunk of response) text += String(chunk);
      resolve({ code: response.statusCode, body: JSON.parse(text) as Record<string, unknown> });
    });
    asked.on("error", reject).end();
  });
}

/** The same with the names of members as the control protocol has them. */
function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (typeof value !== "object" || value === null) return value;
  const name = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [name(key), snakeCase(inner)]));
}

describe("report status", () => {
  it("read all tallies of a large report at once: it shows a thousand and tells how many there are", async () => {
    const about = (n: number) => run.about("one.example", { row: { sourceIp: `10.0.${n >> 8}.${n & 255}` } });
    for (let at = 0; at < 1500; at += 500) run.feed(...Array.from({ length: 500 }, (_, i) => about(at + i)));
    const { code, body } = await status("d!one.example");
    expect(code).toBe(200);
    expect(body).toMatchObject({ rows: 1500, tallies_total: 1500, tallies_error: null });
    expect(body.tallies).toHaveLength(1000);
  });

  it("shows all tallies of a small one, in their stable order", async () => {
    run.feed(...[3, 1, 2].map((n) => run.about("one.example", { row: { sourceIp: `192.0.2.${n}` } })));
    run.feed(sessions({ time: Math.floor(run.clock.now() / 1000), domain: "one.example" }));
    for (const kind of ["d", "t"]) {
      const { body } = await status(`${kind}!one.example`);
      const tallies = snakeCase(run.store.tallies(String(body.id))) as unknown[];
      expect(body).toMatchObject({ tallies, tallies_total: tallies.length });
    }
  });

  it("of a report with unreadable tallies was a bug: the report is shown, with the error", async () => {
    run.feed(run.about("one.example", { count: 3 }));
    run.beside((database) => database.exec("UPDATE tally SET row = '{garbage'"));
    const { code, body } = await status("d!one.example");
    expect(code).toBe(200);
    expect(body).toMatchObject({
      domain: "one.example",
      messages: 3,
      tallies: [],
      tallies_error: expect.stringMatching(/^the database is damaged: queue: a tally/),
    });
    await expect(run.scheduler.requests.send("d!one.example")).rejects.toMatchObject({
      code: "store.corrupt",
    });
    expect((await status("d!one.example")).body).toMatchObject({ failures: 1 });
  });
});
