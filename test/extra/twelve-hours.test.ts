/**
 * Twelve hours of a whole daemon by a fake clock: reports come in and expire, evaluations are counted, reports are
 * composed and delivered, and in the middle the disk is full for two hours. Nothing that was acknowledged is lost or
 * counted twice, and everything works on afterwards.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { SMTPServer } from "smtp-server";
import { afterEach, describe, expect, it } from "vitest";
import type { Config } from "../../src/config/schema.ts";
import type { Daemon, DaemonOptions } from "../../src/daemon.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { dmarcMail } from "../support/report-mail.js";
import { canMount, SmallDisk } from "../support/small-disk.ts";
import { SmtpClient } from "../support/smtp-client.js";
import { testConfig } from "../support/test-config.ts";
import { until } from "../support/wait.ts";

const START = "2026-11-20T00:00:00Z";
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const MAILS_AN_HOUR = 12;
const EVALUATIONS_AN_HOUR = 40;
const FULL_FROM = 5;
const FULL_UNTIL = 7;
const ZONE = '_dmarc.sender.example TXT "v=DMARC1; p=reject; rua=mailto:dmarc@sender.example"\n';

const undo: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each();
});

/** The built daemon, in this process, so that its clock is ours. */
async function startBuilt(options: DaemonOptions): Promise<Daemon> {
  const path = "../../dist/daemon.js";
  const built = (await import(path)) as { Daemon: new (options: DaemonOptions) => Daemon };
  const daemon = new built.Daemon(options);
  await daemon.start();
  return daemon;
}

/** An MX for the reports of the daemon; it keeps what it accepts by Message-ID. */
async function startSink(): Promise<{ port: number; messages: Map<string, string>; tempfail: boolean }> {
  const sink = { port: 0, messages: new Map<string, string>(), tempfail: false };
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["AUTH", "STARTTLS"],
    disableReverseLookup: true,
    onRcptTo: (_address, _session, callback) =>
      callback(sink.tempfail ? Object.assign(new Error("4.3.0 later"), { responseCode: 451 }) : null),
    onData(stream, _session, callback) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const text = Buffer.concat(chunks).toString("latin1");
        sink.messages.set(/^Message-ID: (.*)$/im.exec(text)![1]!, text);
        callback();
      });
    },
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  undo.push(() => new Promise<void>((resolve) => server.close(resolve)));
  sink.port = (server.server.address() as { port: number }).port;
  return sink;
}

/** The messages that the reports of the sink count. */
function countedBy(messages: Iterable<string>): number {
  let sum = 0;
  for (const text of messages) {
    const body = /Content-Type: application\/gzip[\s\S]*?\r\n\r\n([A-Za-z0-9+/=\r\n]+)/i.exec(text)![1]!;
    const xml = gunzipSync(Buffer.from(body, "base64")).toString();
    for (const [, count] of xml.matchAll(/<count>(\d+)<\/count>/g)) sum += Number(count);
  }
  return sum;
}

function evaluation(id: string, time: number): string {
  return JSON.stringify({
    v: 1,
    kind: "dmarc",
    id,
    time,
    policy: {
      domain: "sender.example",
      p: "reject",
      adkim: "r",
      aspf: "r",
      discovery: "treewalk",
      rua: ["mailto:dmarc@sender.example"],
    },
    source_ip: "192.0.2.10",
    header_from: "sender.example",
    envelope_from: "bounce.sender.example",
    envelope_to: "example.org",
    disposition: "none",
    dkim_aligned: true,
    spf_aligned: true,
    dkim: [{ domain: "sender.example", selector: "s1", result: "pass" }],
    spf: { domain: "bounce.sender.example", result: "pass", scope: "mfrom" },
  });
}

/** Feeds lines over the socket; true when they were counted. */
function feed(path: string, lines: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect({ path, allowHalfOpen: true });
    socket.on("data", (chunk) => {
      answer += chunk.toString();
    });
    socket.on("error", () => resolve(false));
    socket.on("close", () => {
      const replies = answer
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as { accepted?: number });
      resolve(replies.reduce((sum, { accepted = 0 }) => sum + accepted, 0) === lines.length);
    });
    socket.end(`${lines.join("\n")}\n`);
  });
}

/** One mail; true when it got its 250. */
async function send(port: number, raw: Buffer): Promise<boolean> {
  const client = await SmtpClient.open(port);
  try {
    return (await client.send("noreply@reporter.example", "dmarc@example.org", raw)).startsWith("250");
  } finally {
    client.destroy();
  }
}

/** A report mail that fills some pages of the archive. */
function largeMail(id: string): Buffer {
  const padding = Array.from({ length: 200 }, (_, i) => `X-Padding: ${id}-${i}-${"x".repeat(800)}\r\n`);
  return Buffer.concat([Buffer.from(padding.join("")), dmarcMail({ id })]);
}

/** GET on the control socket, all of the answer. */
function ask(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request(
      { socketPath, path, headers: { host: "mailreportd", "mailreport-api": "1" } },
      (answer) => {
        let text = "";
        answer.on("data", (chunk) => {
          text += String(chunk);
        });
        answer.on("end", () => (answer.statusCode === 200 ? resolve(text) : reject(new Error(text))));
      },
    );
    asking.on("error", reject);
    asking.end();
  });
}

function settings(state: string, relay: string): Config {
  const config = testConfig({
    state_directory: state,
    allow_root: true,
    // its clock may be moved while a mail is parsed
    limits: { read_timeout: "24h" },
    smtp: { listen: ["127.0.0.1:0"], messages_per_minute: 100_000, connections_per_minute: 100_000 },
    recipient: [{ address: "dmarc@example.org" }],
    receive: { verify: false },
    retention: { raw: "2h", records: "4h" },
    report: { interval: "1h", settle: "1m", dmarc_jitter: "0s", unsigned: true, skip_local: false },
    deliver: { relay, relay_tls: "none", retry: ["10m"] },
    dns: { zone_file: join(state, "zone"), zone_only: true },
    feed: [{ name: "mta", type: "ndjson", socket: "feed.sock" }],
  });
  const feeds = config.feed.map((each) => ({ ...each, socket: join(state, "feed.sock") }));
  return {
    ...config,
    runtime_directory: state,
    feed: feeds,
    control: { ...config.control, socket: join(state, "control.sock") },
  };
}

describe.skipIf(!canMount())("twelve hours", () => {
  it("nothing is lost or counted twice, and all works on after a full disk", {
    timeout: 180_000,
  }, async () => {
    const disk = new SmallDisk("48m");
    undo.push(() => disk.remove());
    const state = join(disk.path, "var");
    mkdirSync(state);
    writeFileSync(join(state, "zone"), ZONE);
    const sink = await startSink();
    const clock = new FakeClock(START);
    const config = settings(state, `127.0.0.1:${sink.port}`);
    const events: { event: string; fields: Record<string, unknown> }[] = [];
    const log = {
      ...silentLog,
      info: (event: string, fields = {}) => void events.push({ event, fields }),
      warn: (event: string, fields = {}) => void events.push({ event, fields }),
      error: (event: string, fields = {}) => void events.push({ event, fields }),
    };
    const daemon = await startBuilt({
      config,
      tryOut: false,
      reloadConfig: () => ({ ok: true, config, tryOut: false }),
      sink: { log, setLevel() {}, reopen() {}, flush() {}, lost: () => 0, drained: async () => {} },
      clock,
      random: (size) => new Uint8Array(size).fill(7),
      paused: [],
    });
    undo.push(() => driven(daemon.stop("test")));
    const port = Number(events.find(({ event }) => event === "smtp.listening")!.fields.port);
    const { socket } = config.control;
    /** Waits for what the daemon does in real time; its clock keeps pace, for some of it waits for the clock. */
    async function driven<T>(work: Promise<T>): Promise<T> {
      let over = false;
      const done = (): void => {
        over = true;
      };
      work.then(done, done);
      while (!over) {
        const from = performance.now();
        await settle();
        await new Promise((resolve) => setTimeout(resolve, 1));
        await clock.advance(Math.ceil(performance.now() - from));
      }
      return work;
    }
    const stats = async (): Promise<Record<string, number>> =>
      JSON.parse(await driven(ask(socket, "/v1/stats")));

    /** Compositions and attempts run in real time: they are over before the clock goes on. */
    const quiet = () =>
      until("compositions and attempts to end", async () => {
        await settle();
        const { "outgoing.composing": composing, "mta.session.now": sessions } = await stats();
        return composing === 0 && sessions === 0;
      });

    const acknowledged = new Set<string>();
    const evaluated = new Set<string>();
    let mails: string[] = [];
    let lines: { id: string; time: number }[] = [];
    let deferredMails = 0;
    let deferredBatches = 0;

    /** What is left of the space in the logs of the databases is used up, too: until mail and batch are refused. */
    async function press(hour: number): Promise<void> {
      for (let n = 0, mailTaken = true, batchTaken = true; mailTaken || batchTaken; n++) {
        expect(n).toBeLessThan(300);
        const id = `large-${hour}-${n}`;
        if (mailTaken) mailTaken = await driven(send(port, largeMail(id)));
        if (mailTaken) acknowledged.add(id);
        else mails.push(id);
        const time = Math.floor(clock.now() / 1000);
        const batch = Array.from({ length: 200 }, (_, i) => ({ id: `e-${hour}-${n}-${i}`, time }));
        lines.push(...batch);
        batchTaken = batchTaken && (await feedAll());
      }
    }

    /** Feeds what was not counted yet; true when it was. */
    async function feedAll(): Promise<boolean> {
      const counted = await driven(
        feed(
          config.feed[0]!.socket,
          lines.map(({ id, time }) => evaluation(id, time)),
        ),
      );
      if (!counted) return false;
      for (const { id } of lines) evaluated.add(id);
      lines = [];
      return true;
    }

    for (let hour = 0; hour < 12; hour++) {
      sink.tempfail = hour === 3;
      if (hour === FULL_FROM) {
        disk.fill();
        await press(hour);
      }
      if (hour === FULL_UNTIL) disk.free();
      mails.push(...Array.from({ length: MAILS_AN_HOUR }, (_, i) => `mail-${hour}-${i}`));
      lines.push(
        ...Array.from({ length: EVALUATIONS_AN_HOUR }, (_, i) => ({
          id: `e-${hour}-${i}`,
          time: Math.floor(clock.now() / 1000),
        })),
      );
      // as senders and feeders do: what was not acknowledged is sent again later
      const left: string[] = [];
      for (const id of mails) {
        if (await driven(send(port, dmarcMail({ id, records: 20 })))) acknowledged.add(id);
        else left.push(id);
      }
      deferredMails += left.length;
      mails = left;
      if (!(await feedAll())) deferredBatches++;
      for (let minute = 0; minute < 60; minute++) {
        await clock.advance(MINUTE);
        await quiet();
      }
    }

    expect(deferredMails).toBeGreaterThan(0);
    expect(deferredBatches).toBeGreaterThan(0);
    expect([mails, lines]).toEqual([[], []]);
    await until("all to be delivered", async () => {
      await clock.advance(10 * MINUTE);
      await quiet();
      const {
        "outgoing.open": open,
        "queue.envelope.pending": pending,
        "queue.envelope.inflight": inflight,
      } = await stats();
      return open === 0 && pending === 0 && inflight === 0;
    });
    expect(countedBy(sink.messages.values())).toBe(evaluated.size);
    expect(evaluated.size).toBeGreaterThanOrEqual(12 * EVALUATIONS_AN_HOUR);

    const ids = (await driven(ask(socket, "/v1/reports")))
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { report_id?: string })
      .flatMap(({ report_id }) => report_id ?? []);
    expect(ids.toSorted()).toEqual([...acknowledged].toSorted());
    expect(acknowledged.size).toBeGreaterThanOrEqual(12 * MAILS_AN_HOUR);

    const sizes = JSON.parse(await driven(ask(socket, "/v1/db/stats"))) as {
      archive: { raw_mails: number; records: number };
    };
    expect(sizes.archive.raw_mails).toBeLessThan(6 * MAILS_AN_HOUR);
    expect(sizes.archive.records).toBeLessThan(acknowledged.size * 20);
    const isBug = ({ event, fields }: (typeof events)[number]): boolean =>
      event === "daemon.bug" || fields.code === "daemon.bug";
    expect(events.filter(isBug)).toEqual([]);
    expect(clock.now() - Date.parse(START)).toBeGreaterThanOrEqual(12 * HOUR);
  });
});
