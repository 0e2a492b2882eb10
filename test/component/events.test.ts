/** What subscribers learn of a mail, a report, a delivery and a feed; the log has its lines beside them. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Delivery } from "../../src/deliver/runner.ts";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { makeFeeder } from "../../src/feed/batch.ts";
import { startFeedSocket } from "../../src/feed/socket.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { DaemonEvents } from "../../src/model/events.ts";
import type { DsnReport } from "../../src/model/report.ts";
import { ReportLog } from "../../src/receive/ingest/report-log.ts";
import type { IntakeResult } from "../../src/store/archive/intake.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { counted, DAY, evaluation, newMessage, OUTGOING } from "../support/events.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { closeListeners, openListeners } from "../support/listeners.ts";
import { type Got, gotEvents, loggedEvents } from "../support/recorded-events.ts";
import { type RecordedLog, recordedLog } from "../support/recorded-log.ts";
import { ReportRun } from "../support/report-run.ts";
import { SmtpClient } from "../support/smtp-client.js";
import { openSink } from "../support/smtp-sink.ts";
import { testConfig } from "../support/test-config.ts";
import { until } from "../support/wait.ts";

let dir: string;
let clock: FakeClock;
let log: RecordedLog;
let events: DaemonEvents;
let got: Got;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "events-"));
  clock = new FakeClock("2026-11-20T04:00:00Z");
  log = recordedLog();
  events = loggedEvents(log, clock);
  got = gotEvents(events);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("a mail", () => {
  afterEach(closeListeners);
  const MAIL = Buffer.from("Subject: x\r\n\r\nx\r\n");

  it("that is accepted, refused or deferred is an event with who sent it and why", async () => {
    let fault: Error | undefined;
    const { port } = await openListeners({
      log,
      events,
      accept: async () => {
        if (fault) throw fault;
        return { spooled: true, mailId: 7 };
      },
    });
    const client = await SmtpClient.open(port);
    await client.send("a@b.example", "dmarc@example.org", MAIL);
    await client.command("MAIL FROM:<a@b.example>");
    await client.command("RCPT TO:<nobody@example.org>");
    await client.command("RSET");
    await client.send("a@b.example", "dmarc@example.org", Buffer.from("Received: x\r\n".repeat(51)));
    fault = new MailreportError("store.full");
    await client.send("a@b.example", "dmarc@example.org", MAIL);
    client.destroy();
    const remote = "127.0.0.1";
    expect(got.of("mail.accepted")).toMatchObject([
      { id: "m7", from: "a@b.example", remote, outcome: "spooled", auth: "none" },
    ]);
    expect(got.of("mail.refused")).toMatchObject([
      { from: "a@b.example", remote, rcpt: "nobody@example.org", reply: "550 5.1.1" },
      { from: "a@b.example", remote, rcpt: null, reply: "554 5.4.6", reason: "loop" },
    ]);
    expect(got.of("mail.deferred")).toMatchObject([
      { from: "a@b.example", remote, code: "store.full", reply: "452 4.3.1" },
    ]);
    expect(log.of("mail.accepted")).toMatchObject([{ id: "m7", outcome: "spooled" }]);
    expect(log.of("mail.refused")[0]).toEqual({ rcpt: "nobody@example.org", remote, reply: "550 5.1.1" });
    expect(log.of("mail.deferred")).toMatchObject([{ code: "store.full", error: expect.any(String) }]);
  });

  it("gives an event for each of its reports: stored, known before, unusable", () => {
    const figures = {
      kind: "dmarc",
      orgName: "Reporter",
      reportId: "1",
      policyDomain: "a.example",
      records: 2,
      messages: 5,
    };
    const result = {
      mailId: 3,
      items: [
        { ok: true, kept: "new", figures },
        { ok: true, kept: "conflict", figures },
        { ok: true, kept: "refused", figures },
        { ok: false, kind: "dmarc", reason: "bad-xml", detail: "line 1" },
      ],
      reportIds: [9],
      detail: null,
    } as unknown as IntakeResult;
    new ReportLog({ log, events }).add("intake", result);
    const report = { mail: "m3", kind: "dmarc", org: "Reporter", report_id: "1", domain: "a.example" };
    const stored = { id: "r9", ...report, records: 2, messages: 5 };
    const invalid = { mail: "m3", kind: "dmarc", reason: "bad-xml", detail: "line 1" };
    expect(got.of("report.stored")).toEqual([stored]);
    expect(got.of("report.duplicate")).toEqual([{ ...report, conflict: true }]);
    expect(got.of("report.invalid")).toEqual([invalid]);
    expect(log.lines).toEqual([
      { level: "info", event: "report.stored", fields: stored },
      { level: "info", event: "report.duplicate", fields: { ...report, conflict: true } },
      { level: "warn", event: "report.invalid", fields: invalid },
    ]);
  });
});

describe("a mail with many reports", () => {
  const many = (count: number): IntakeResult =>
    ({
      mailId: 4,
      items: Array.from({ length: count }, (_, n) => ({
        ok: true,
        kept: n % 2 === 0 ? "new" : "duplicate",
        figures: {
          kind: "dmarc",
          orgName: "R",
          reportId: `${n}`,
          policyDomain: null,
          records: 1,
          messages: 1,
        },
      })),
      reportIds: Array.from({ length: count / 2 }, (_, n) => 100 + n),
      detail: null,
    }) as unknown as IntakeResult;

  it("kept all other work waiting for its events: they come in slices, each report with its id", async () => {
    const reportLog = new ReportLog({ log, events });
    reportLog.add("intake", many(1000));
    expect(got.of("report.stored")).toHaveLength(50);
    reportLog.add("intake", many(4)); // another one does not wait for it
    expect(got.of("report.stored")).toHaveLength(52);
    await reportLog.ended();
    const of1000 = got.of("report.stored").filter((_, n) => n !== 50 && n !== 51);
    expect(of1000.map(({ id, report_id }) => [id, report_id])).toEqual(
      Array.from({ length: 500 }, (_, n) => [`r${100 + n}`, `${2 * n}`]),
    );
    expect(got.of("report.duplicate")).toHaveLength(502);
  });

  it("an event that cannot be given is logged, and ends the others of its mail alone", async () => {
    let left = 150;
    const failing = {
      emit() {
        if (left-- <= 0) throw new Error("no event");
      },
    } as unknown as typeof events;
    const reportLog = new ReportLog({ log, events: failing });
    reportLog.add("intake", many(1000));
    expect(log.lines).toEqual([]);
    await reportLog.ended();
    expect(log.lines).toMatchObject([
      { level: "error", event: "unit.failed", fields: { unit: "intake", mail: "m4" } },
    ]);
    expect(left).toBe(-1);
  });
});

describe("an outgoing report", () => {
  it("is an event when it is opened, composed, deferred, dropped and brought back", async () => {
    const run = new ReportRun();
    const seen = gotEvents(run.events);
    run.feed(run.about("one.example"), run.about("silent.example"), run.about("broken.example"));
    await run.pass(26);
    const about = (domain: string) => ({ kind: "dmarc", domain, id: run.of(domain).id });
    expect(seen.of("outgoing.opened").map(({ domain }) => domain)).toEqual([
      "one.example",
      "silent.example",
      "broken.example",
    ]);
    expect(seen.of("outgoing.composed")).toMatchObject([
      { ...about("one.example"), rcpt: "r@one.example", message: expect.stringMatching(/^[0-9a-f]{8}$/) },
    ]);
    const dropped = about("silent.example");
    expect(seen.of("outgoing.dropped")).toEqual([{ ...dropped, reason: "no-rua", messages: 1 }]);
    expect(seen.of("outgoing.deferred")[0]).toMatchObject({ ...about("broken.example"), cause: "dns" });
    run.scheduler.requests.undelete(dropped.id);
    expect(seen.of("outgoing.undeleted")).toMatchObject([{ ...dropped, messages: 1, merged: null }]);
    const lines = run.lines.map(({ event }) => event);
    expect(lines.filter((event) => event === "outgoing.opened")).toHaveLength(3);
    await run.end();
  });
});

describe("a delivery", () => {
  it("is an event with the reply, and so are a bounce and the suppression that follows", async () => {
    const sink = await openSink();
    sink.refuse.set("gone@one.example", { code: 550, text: "5.1.1 no such user" });
    sink.refuse.set("later@one.example", { code: 451, text: "4.3.0 come back" });
    const store = openQueueStore(join(dir, "queue.db"));
    store.count("f", [counted(evaluation())], DAY);
    const now = epochSeconds(clock);
    const rcpts = ["good@one.example", "gone@one.example", "later@one.example"];
    store.compose(OUTGOING, [newMessage("0a0a0a0a", rcpts, now, OUTGOING)], now, null);
    const config = testConfig({ deliver: { port: sink.port, allow_private: true, ip_family: "4" } });
    const zone = "one.example MX 10 mx.example\nmx.example A 127.0.0.1\n";
    const delivery = new Delivery({
      config: () => config,
      store,
      resolver: zoneResolver(parseZone(zone)),
      clock,
      log,
      events,
      random: () => 0.5,
    });
    delivery.start();
    await until("all attempts", async () => {
      await clock.advance(0); // two attempts at once
      return got.names.length >= 4;
    });
    const about = { message: "0a0a0a0a", outgoing: OUTGOING, domain: "example.com", attempts: 1 };
    expect(got.of("envelope.delivered")).toMatchObject([{ ...about, rcpt: rcpts[0], code: 250, next: null }]);
    expect(got.of("envelope.failed")).toMatchObject([
      { ...about, rcpt: rcpts[1], code: 550, enhanced: "5.1.1", host: "mx.example" },
    ]);
    const [deferred] = got.of("envelope.deferred");
    expect(deferred).toMatchObject({ ...about, rcpt: rcpts[2], code: 451, enhanced: "4.3.0" });
    expect(deferred!.next).toBeGreaterThan(now);
    expect(got.of("suppression.added")).toMatchObject([{ target: rcpts[1] }]);
    const recipient = {
      finalRecipient: rcpts[0],
      originalRecipient: null,
      action: "failed",
      status: "5.2.2",
    };
    const dsn = { recipients: [{ ...recipient, remoteMta: null, diagnostic: "full" }], reportingMta: null };
    delivery.bounced("0a0a0a0a", dsn as unknown as DsnReport);
    const { attempts: _, ...bounced } = about;
    expect(got.of("envelope.bounced")).toEqual([
      {
        ...bounced,
        id: expect.stringMatching(/^0a0a0a0a/),
        rcpt: rcpts[0],
        action: "failed",
        status: "5.2.2",
        diagnostic: "full",
      },
    ]);
    expect(log.of("envelope.failed")).toMatchObject([{ rcpt: rcpts[1], code: 550, attempts: 1 }]);
    expect(log.of("envelope.bounced")[0]).not.toHaveProperty("message");
    await delivery.stop(0);
    store.close();
    await sink.close();
  });
});

describe("a feed", () => {
  /** A feed whose counter refuses each event for this reason. */
  const start = (path: string, reason = "") => {
    const count = (_feed: string, given: readonly unknown[]) => ({
      ...{ counted: 0, repeated: 0 },
      refused: given.map((_, index) => ({ index, reason })),
    });
    const config = testConfig();
    const feeder = makeFeeder({ config: () => config, clock, count, events });
    return startFeedSocket({ name: "mx1", path, feeder, clock, log, events });
  };
  const line = () =>
    `${JSON.stringify({
      ...{ v: 1, kind: "dmarc", id: "e1", time: epochSeconds(clock) - 3600, source_ip: "192.0.2.10" },
      ...{ header_from: "example.com", policy: { domain: "example.com", p: "reject" } },
      ...{ disposition: "none", dkim_aligned: true, spf_aligned: false },
    })}\n`;

  it("is an event when it listens, counts and rejects", async () => {
    const path = join(dir, "feed.sock");
    const feed = await start(path);
    const client = connect(path);
    client.write("{}\n");
    await until("the batch", () => got.of("feed.rejected").length === 1);
    expect(got.of("feed.listening")).toEqual([{ feed: "mx1", path }]);
    expect(got.of("feed.batch")).toEqual([{ feed: "mx1", accepted: 0, repeated: 0, rejected: 1 }]);
    expect(got.of("feed.rejected")).toEqual([
      { feed: "mx1", rejected: 1, line: 1, reason: "kind: expected dmarc or tls" },
    ]);
    expect(log.lines.map(({ level, event }) => `${level} ${event}`)).toEqual([
      "info feed.listening",
      "debug feed.batch",
      "warn feed.rejected",
    ]);
    client.destroy();
    await feed.stop();
  });

  it("a client that died before it read its answer left no word: the feed is lost, with the error", async () => {
    const path = join(dir, "feed.sock");
    const feed = await start(path, "x".repeat(8 << 20)); // more than the buffers of a socket take
    const client = connect(path);
    client.pause();
    client.write(line());
    await until("the batch", () => got.of("feed.batch").length === 1);
    client.destroy();
    await until("the loss", () => got.of("feed.lost").length === 1);
    expect(got.of("feed.lost")).toEqual([{ feed: "mx1", what: "connection", error: expect.any(String) }]);
    expect(log.of("feed.lost")).toHaveLength(1);
    await feed.stop();
  });
});
