/**
 * Maintenance beside intake: (a) the mails of an old archive expire, (b) an archive is copied, while 20 connections send
 * a small mail every 50 ms each; yardstick of both: the same load without it in the same run. (c) A year of reports through
 * the archive's writer with retention scaled: its size by month. MAILREPORTD_BENCH_MAILS sets the mails of (a) (1,000,000),
 * MAILREPORTD_BENCH_SECONDS how long it is watched (120; the rest of them is left), MAILREPORTD_BENCH_MB the size of (b)
 * (2000), MAILREPORTD_BENCH_REPORTS the reports of a day of (c) (200), MAILREPORTD_BENCH_PAUSE the 50 ms.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { judge } from "../../dist/model/counting.js";
import { countedWithin } from "../../dist/model/retention.js";
import { openArchiveWriter } from "../../dist/store/sqlite/archive/writer.js";
import { dmarcMail } from "../support/report-mail.js";
import { DAY, FIRST, intakeOf, staged } from "./archive.js";
import { withDaemon } from "./daemon.js";
import { prepared, timedLoad } from "./smtp-load.js";

const MAILS = Number(process.env.MAILREPORTD_BENCH_MAILS ?? 1_000_000);
const MEGABYTES = Number(process.env.MAILREPORTD_BENCH_MB ?? 2000);
const REPORTS = Number(process.env.MAILREPORTD_BENCH_REPORTS ?? 200);
const SECONDS = Number(process.env.MAILREPORTD_BENCH_SECONDS ?? 120);
const PAUSE_MS = Number(process.env.MAILREPORTD_BENCH_PAUSE ?? 50);
const CONNECTIONS = 20;
const NO_AUTH = { dmarc: "off", tls: "off", failure: "off", arf: "off", dsn: "off" };
const POLICY = { domains: [], requireAuth: NO_AUTH, countUnverified: ["dmarc"], verifies: false };

/** A request on the control socket; the answer as JSON. */
function control(dir, method, path, body) {
  const headers = { accept: "application/json", "mailreport-api": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  return new Promise((resolve, reject) => {
    const asked = request(
      { socketPath: join(dir, "var", "control.sock"), method, path, headers },
      (response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () =>
          response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text)),
        );
      },
    );
    asked.on("error", reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function mailsOf(tag) {
  return Array.from({ length: 5000 }, (_, i) =>
    prepared({
      to: "dmarc@example.org",
      data: dmarcMail({ id: `${tag}-${i}`, domain: `d${i % 20}.example.org`, begin: 1795046400 }),
    }),
  );
}

/** Sends mails over and over until `until` resolves; the times to 250. */
async function during(port, tag, until) {
  const list = mailsOf(tag);
  let done = false;
  let sent = 0;
  const end = until.finally(() => {
    done = true;
  });
  const begin = performance.now();
  const nextMail = () => (done ? undefined : list[sent++ % list.length]);
  const times = await timedLoad(port, nextMail, CONNECTIONS, PAUSE_MS);
  await end;
  return { times: times.sort((a, b) => a - b), seconds: (performance.now() - begin) / 1000 };
}

function figures({ times, seconds }) {
  const at = (q) => times[Math.min(times.length - 1, Math.floor(times.length * q))].toFixed(0);
  return `${(times.length / seconds).toFixed(0)} mails/s, to 250 p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const sizeOf = (path) => (existsSync(path) ? statSync(path).size : 0);
const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

/** An archive of old mails: one report each, with a body that its parse result came from. */
async function fill(path, mails, rawBytes, receivedAt) {
  const writer = openArchiveWriter(path);
  const raw = randomBytes(rawBytes);
  const GROUP = 1000;
  for (let at = 0; at < mails; at += GROUP) {
    const batch = Array.from({ length: Math.min(GROUP, mails - at) }, (_, i) => {
      const mail = intakeOf(receivedAt, raw);
      return { intake: mail, content: judge(staged(at + i, receivedAt, 1), mail, POLICY) };
    });
    await writer.put(batch);
    if ((at / GROUP) % 20 === 0) await writer.checkpoint();
  }
  await writer.checkpoint();
  await writer.close();
}

/** The daemon over an archive, first without maintenance, then with it. */
async function beside(name, make, work, print) {
  const archives = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  const path = join(archives, "archive.db");
  try {
    const begin = performance.now();
    await make(path);
    print(
      `${name}: archive of ${mb(sizeOf(path))} made in ${((performance.now() - begin) / 1000).toFixed(0)} s`,
    );
    await withDaemon(
      async (port, _pid, dir) => {
        await during(port, "warm", wait(2000));
        print(`  without: ${figures(await during(port, "without", wait(10_000)))}`);
        const before = await control(dir, "GET", "/v1/stats");
        let wal = 0;
        const watch = setInterval(() => {
          wal = Math.max(wal, sizeOf(join(dir, "var", "archive.db-wal")));
        }, 50);
        const start = performance.now();
        let took = 0;
        let answer;
        const running = work(dir).then((value) => {
          took = performance.now() - start;
          answer = value;
        });
        const load = await during(port, "with", running);
        clearInterval(watch);
        const after = await control(dir, "GET", "/v1/stats");
        print(`  with:    ${figures(load)}; took ${(took / 1000).toFixed(1)} s: ${JSON.stringify(answer)}`);
        print(
          `  main loop blocked for up to ${after["daemon.loop.max_ms"]} ms (${before["daemon.loop.max_ms"]} without); write-ahead log up to ${mb(wal)}`,
        );
        await during(port, "after", wait(3000));
        await wait(3000);
        print(`  log afterwards ${mb(sizeOf(join(dir, "var", "archive.db-wal")))}`);
      },
      { archive: path },
    );
  } finally {
    rmSync(archives, { recursive: true, force: true });
  }
}

async function expiry(print) {
  const old = Math.floor(Date.now() / 1000) - 500 * DAY;
  await beside(
    `expiry of ${MAILS} mails`,
    (path) => fill(path, MAILS, 1000, old),
    async (dir) => {
      const ended = control(dir, "POST", "/v1/db/prune", { dry_run: false });
      const answer = await Promise.race([ended, wait(SECONDS * 1000)]);
      if (answer) return answer;
      ended.catch(() => {}); // the daemon is ended before it is done
      const { archive } = await control(dir, "GET", "/v1/db/stats");
      return { not_done_in_seconds: SECONDS, raw_mails_left: archive.raw_mails };
    },
    print,
  );
}

async function backup(print) {
  const now = Math.floor(Date.now() / 1000);
  const folder = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  try {
    await beside(
      `backup of ${MEGABYTES} MB`,
      (path) => fill(path, Math.ceil(MEGABYTES / 0.1), 100_000, now),
      async (dir) => {
        const { files } = await control(dir, "POST", "/v1/db/backup", { path: join(folder, "copy") });
        return files.map(({ bytes }) => mb(bytes));
      },
      print,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A year of reports, each day followed by the daily expiry. */
async function year(print) {
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  const path = join(dir, "archive.db");
  mkdirSync(dir, { recursive: true });
  const [month, quarter] = [30 * DAY, 90 * DAY];
  const keep = {
    raw: month,
    failedRaw: month,
    records: quarter,
    feedback: month,
    mails: quarter,
    sums: 2 * quarter,
  };
  const policy = { ...POLICY, countedWithin: countedWithin(keep) };
  const writer = openArchiveWriter(path);
  const raw = randomBytes(3000);
  try {
    for (let day = 0; day < 365; day++) {
      const now = FIRST + day * DAY;
      const batch = Array.from({ length: REPORTS }, (_, i) => {
        const mail = intakeOf(now, raw);
        return { intake: mail, content: judge(staged(day * REPORTS + i, now), mail, policy) };
      });
      await writer.put(batch);
      while ((await writer.expire(now, keep, 1000)).more);
      if (day % 30 !== 29) continue;
      await writer.checkpoint();
      print(`  month ${(day + 1) / 30}: ${mb(sizeOf(path))}, ${rowsOf(path)}`);
    }
  } finally {
    await writer.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

function rowsOf(path) {
  const database = new Database(path, { readonly: true });
  const count = (table) => database.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  const tables = [
    "mail",
    "raw",
    "report",
    "record_block",
    "daily",
    "expired_report",
    "source",
    "authset",
    "head",
  ];
  const text = tables.map((table) => `${table} ${count(table)}`).join(", ");
  database.close();
  return text;
}

export async function run(print) {
  const wanted = (process.env.MAILREPORTD_BENCH_PARTS ?? "expiry,backup,year").split(",");
  if (wanted.includes("expiry")) await expiry(print);
  if (wanted.includes("backup")) await backup(print);
  if (wanted.includes("year")) {
    print(`a year of ${REPORTS} reports a day; raw 30d, records and mails 90d, sums 180d`);
    await year(print);
  }
}
