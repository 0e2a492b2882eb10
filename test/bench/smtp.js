/**
 * Mails per second until 250, and until all of them are parsed, compared with a server that only stores the bytes
 * (smtp-server + one BLOB insert in a group-committed, synced transaction). 20 open connections make a burst: their
 * mails are stored first; with 4 each mail is parsed before its 250. The clients run on the same machine. Last, what small
 * mails notice of reports of 100,000 records that are parsed and stored beside them.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dmarcMail } from "../support/report-mail.js";
import { SmtpClient } from "../support/smtp-client.js";
import { ROOT, started, withDaemon } from "./daemon.js";
import { load, prepared, session } from "./smtp-load.js";

const ROUNDS = 3;

function rss(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0; // the process is gone
  }
}

/** A process and its children, MB. */
function rssTree(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter(Boolean);
  return [pid, ...children].reduce((sum, p) => sum + rss(p), 0);
}

/** Processor time that a process has used, ms (Linux counts in 1/100 s). */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** One GET on the control socket, as JSON. */
function control(socketPath, path) {
  return new Promise((resolve, reject) => {
    get({ socketPath, path, headers: { accept: "application/json", "mailreport-api": "1" } }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(JSON.parse(text)));
    }).on("error", reject);
  });
}

async function withStore(work) {
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  const child = spawn(process.execPath, [join(ROOT, "test/bench/store-only.js"), dir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const match = await started(child, /port (\d+)/);
    return await work(Number(match[1]), child.pid);
  } finally {
    child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

function mails(count, records, tag) {
  return Array.from({ length: count }, (_, i) =>
    prepared({
      to: "dmarc@example.org",
      data: dmarcMail({
        id: `${tag}-${i}`,
        domain: `d${i % 20}.example.org`,
        records,
        begin: 1795046400,
      }),
    }),
  );
}

/** Mails per second until the last 250. */
async function rate(port, list, connections) {
  const start = performance.now();
  await load(port, list, connections);
  return (list.length / (performance.now() - start)) * 1000;
}

/** Waits until all accepted mails are parsed. */
async function caughtUp(dir, reports) {
  const socket = join(dir, "var", "control.sock");
  for (;;) {
    const stats = await control(socket, "/v1/stats");
    if (stats["archive.unread"] === 0) {
      const kept = stats["archive.report.dmarc"];
      if (kept !== reports) throw new Error(`${kept} reports in the archive, not ${reports}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** One size of mails over a number of connections: until 250, until all are parsed, and the yardstick, in rounds. */
async function side(records, count, connections, print) {
  const list = mails(count, records, `b${records}`);
  const warm = mails(records > 100 ? 300 : 2000, records, `w${records}`);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) {
    const stored = await withStore(async (port) => {
      await rate(port, warm, connections);
      return rate(port, list, connections);
    });
    await withDaemon(async (port, pid, dir) => {
      await rate(port, warm, connections);
      await caughtUp(dir, warm.length);
      const before = cpu(pid);
      const start = performance.now();
      const accepted = await rate(port, list, connections);
      const main = (cpu(pid) - before) / list.length;
      await caughtUp(dir, warm.length + list.length);
      const read = (list.length / (performance.now() - start)) * 1000;
      rounds.push({ stored, accepted, read, main, memory: rssTree(pid) });
    });
  }
  const of = (name) => median(rounds.map((round) => round[name]));
  const percent = (name) => `${median(rounds.map((r) => (r[name] / r.stored) * 100)).toFixed(0)} %`;
  print(
    `${records} records, ${connections} connections, verify = false, median of ${ROUNDS}: ${of("accepted").toFixed(0)} mails/s to 250 = ${percent("accepted")} of ${of("stored").toFixed(0)} only stored; until all are parsed ${of("read").toFixed(0)} mails/s = ${percent("read")}; main process ${of("main").toFixed(3)} ms per mail; RSS after ${of("memory").toFixed(0)} MB`,
  );
}

/** Waits until records of this number are stored. */
async function recordsStored(socket, records) {
  const begin = performance.now();
  for (;;) {
    const stats = await control(socket, "/v1/stats");
    if (stats["archive.record"] >= records) return stats;
    if (performance.now() - begin > 120_000)
      throw new Error("the reports were not parsed within two minutes");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const MOST_BESIDE = 40_000;
const LARGE = 100_000;

/**
 * Small mails over 20 connections, while large reports come one after the other and until the last one is stored.
 * @param {number} large reports of 100,000 records
 * @param {number} pauseMs of each connection between two mails; 0: a burst without end
 */
async function beside(large, pauseMs, print) {
  const small = mails(pauseMs > 0 ? 4000 : MOST_BESIDE, 10, `s${large}-${pauseMs}`);
  const bigs = Array.from({ length: large }, (_, i) => dmarcMail({ id: `big-${i}`, records: LARGE }));
  await withDaemon(async (port, _, dir) => {
    await rate(port, mails(500, 10, "warm"), 20);
    await caughtUp(dir, 500);
    let next = 0;
    let done = false;
    const waits = [];
    const options = {
      nextMail: () => (done ? undefined : small[next++]),
      pauseMs,
      onReply: (ms) => waits.push(ms),
    };
    const senders = Promise.all(Array.from({ length: 20 }, () => session(port, options)));
    const client = await SmtpClient.open(port);
    const begin = performance.now();
    for (const data of bigs) {
      const reply = await client.send("r@reporter.example", "dmarc@example.org", data);
      if (!reply.startsWith("250")) throw new Error(reply);
    }
    const stats = await recordsStored(join(dir, "var", "control.sock"), large * LARGE);
    const took = performance.now() - begin;
    done = true;
    await senders;
    const sorted = waits.toSorted((a, b) => a - b);
    const at = (part) => sorted[Math.floor(part * (sorted.length - 1))].toFixed(1);
    const pace = pauseMs > 0 ? `a mail every ${pauseMs} ms` : "without a pause";
    print(
      `beside ${large} report${large > 1 ? "s" : ""} of 100,000 records (${took.toFixed(0)} ms until stored): ${waits.length} small mails over 20 connections, each ${pace}: 250 after p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} ms; main loop blocked for up to ${stats["daemon.loop.max_ms"]} ms`,
    );
    await client.quit();
  });
}

export async function run(print) {
  for (const [connections, count] of [
    [1, 1500],
    [2, 2000],
    [4, 3000],
    [8, 4000],
    [20, 6000],
    [50, 6000],
  ])
    await side(10, count, connections, print);
  await side(250, 800, 20, print);
  await side(250, 300, 1, print);
  await beside(1, 50, print);
  await beside(10, 50, print);
  await beside(1, 0, print);
  await withDaemon(async (port, pid, dir) => {
    const data = dmarcMail({ id: "big", records: LARGE });
    await new Promise((resolve) => setTimeout(resolve, 500));
    const idle = rssTree(pid);
    let peak = idle;
    const watch = setInterval(() => {
      peak = Math.max(peak, rssTree(pid));
    }, 20);
    const begin = performance.now();
    const client = await SmtpClient.open(port);
    const reply = await client.send("r@reporter.example", "dmarc@example.org", data);
    const acknowledged = performance.now() - begin;
    if (!reply.startsWith("250")) throw new Error(reply);
    const socket = join(dir, "var", "control.sock");
    const stats = await recordsStored(socket, LARGE);
    const read = performance.now() - begin;
    clearInterval(watch);
    print(
      `100,000-record mail (${(data.length / 1e6).toFixed(2)} MB): 250 after ${acknowledged.toFixed(0)} ms, parsed and committed after ${read.toFixed(0)} ms; peak RSS +${(peak - idle).toFixed(0)} MB over ${idle.toFixed(0)} MB idle; main loop blocked for up to ${stats["daemon.loop.max_ms"]} ms`,
    );
    await client.quit();
  });
}
