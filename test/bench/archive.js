/**
 * A large archive: 10,000,000 records of a year (20 domains, 50 organisations), written through the archive's writer
 * without SMTP and parsing; bytes per record, records per second, and the time of common queries; and how long short
 * questions take while another client asks long ones. Yardstick of the writing: the same number of rows into one plain
 * table in the same transactions. MAILREPORTD_BENCH_RECORDS sets the number of records.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { systemClock } from "../../dist/lib/clock.js";
import { judge } from "../../dist/model/counting.js";
import { RecordPacker } from "../../dist/model/packed-records.js";
import { openArchiveReader } from "../../dist/store/sqlite/archive/reader.js";
import { startArchiveReader } from "../../dist/store/sqlite/archive/reader-client.js";
import { openArchiveWriter } from "../../dist/store/sqlite/archive/writer.js";

const ALL = { limit: 100_000 };

export const DAY = 86_400;
export const FIRST = 1_767_225_600;
const DAYS = 365;
const DOMAINS = 20;
const ORGS = 50;
const PER_REPORT = 27;
const GROUP = 100;
const NO_AUTH = { dmarc: "off", tls: "off", failure: "off", arf: "off", dsn: "off" };
const WORDS = ["fail", "pass"];

/** A small, fast generator with the same numbers in every run. */
function random(seed) {
  let x = seed;
  return (below) => {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
}

function head(number, day, domain, org) {
  return {
    kind: "dmarc",
    orgName: `reporter${org}.example`,
    email: `noreply@reporter${org}.example`,
    extraContactInfo: null,
    reportId: `${(number * 2_654_435_761) % 2 ** 40}`,
    reportIdRaw: null,
    begin: FIRST + day * DAY,
    end: FIRST + (day + 1) * DAY - 1,
    errors: [],
    generator: null,
    version: "1.0",
    namespace: null,
    flavour: "rfc7489",
    policy: {
      domain: `d${domain}.example.org`,
      adkim: "r",
      aspf: "r",
      p: "reject",
      sp: null,
      np: null,
      pct: 100,
      fo: null,
      testing: null,
      discoveryMethod: null,
      versionPublished: null,
      raw: null,
    },
    extensions: null,
  };
}

/** A record of one of the senders of a domain, or of one of 200,000 others. */
function record(pick, domain) {
  const own = pick(10) > 0;
  const n = own ? domain * 100 + pick(100) : 10_000 + pick(200_000);
  const dkim = WORDS[own ? Number(pick(50) > 0) : 0];
  const spf = WORDS[own ? Number(pick(20) > 0) : 0];
  return {
    sourceIp: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`,
    count: 1 + pick(pick(20) === 0 ? 1000 : 10),
    disposition: dkim === "fail" && spf === "fail" ? "reject" : "none",
    dkim,
    spf,
    reasons: [],
    headerFrom: `d${domain}.example.org`,
    envelopeFrom: `bounce.d${domain}.example.org`,
    envelopeTo: null,
    dkimResults: [{ domain: `d${domain}.example.org`, selector: `s${pick(3)}`, result: dkim }],
    spfResults: [{ domain: `bounce.d${domain}.example.org`, scope: "mfrom", result: spf }],
    extensions: null,
    raw: null,
  };
}

/** The staged parse result of report number `number`, as the parser makes it. */
export function staged(number, receivedAt, records = PER_REPORT) {
  const pick = random(number + 1);
  const day = Math.floor((receivedAt - FIRST) / DAY);
  const domain = pick(DOMAINS);
  const about = head(number, day, domain, pick(ORGS));
  const part = { name: null, mediaType: null, size: 0 };
  const packer = new RecordPacker();
  let messages = 0;
  let passMessages = 0;
  for (let i = 0; i < records; i++) {
    const row = record(pick, domain);
    messages += row.count;
    if (row.dkim === "pass" || row.spf === "pass") passMessages += row.count;
    packer.add(row);
  }
  const figures = {
    kind: "dmarc",
    orgName: about.orgName,
    reportId: about.reportId,
    policyDomain: about.policy.domain,
    begin: about.begin,
    end: about.end,
    records,
    messages,
    passMessages,
    droppedRecords: 0,
    warnings: [],
  };
  const contentHash = number.toString(16).padStart(64, "0");
  const content = { kind: "dmarc", head: about, records: packer.take() };
  const items = [{ ok: true, figures, part, contentHash, content }];
  return { headers: null, items, warnings: [], reason: null, detail: null };
}

const receivedAtOf = (number, reports) => FIRST + Math.floor((number / reports) * DAYS) * DAY;

/** A mail on its way to the archive. */
export function intakeOf(receivedAt, raw = new Uint8Array(0)) {
  return {
    raw,
    hints: { form: "mail", fileName: null, receivedAt },
    source: "smtp",
    envelopeFrom: "noreply@reporter.example",
    envelopeTo: ["dmarc@example.org"],
    remoteIp: "192.0.2.1",
    remoteName: "mx.reporter.example",
    tls: "TLS",
    auth: { verdict: "none", domain: null, dkimDomains: [], by: null, detail: null },
    kinds: [],
  };
}

async function fill(path, reports, print) {
  const policy = { domains: [], requireAuth: NO_AUTH, countUnverified: ["dmarc"], verifies: false };
  const writer = openArchiveWriter(path);
  const start = performance.now();
  let mark = start;
  let last = 0;
  for (let at = 0; at < reports; at += GROUP) {
    const batch = Array.from({ length: Math.min(GROUP, reports - at) }, (_, i) => {
      const receivedAt = receivedAtOf(at + i, reports);
      const mail = intakeOf(receivedAt);
      return { intake: mail, content: judge(staged(at + i, receivedAt), mail, policy) };
    });
    await writer.put(batch);
    // the last tenth shows whether it slows down as the archive grows
    if (at + GROUP >= reports * 0.9 && last === 0) {
      last = at + GROUP;
      mark = performance.now();
    }
  }
  const end = performance.now();
  await writer.checkpoint();
  await writer.close();
  const rate = (count, ms) => ((count * PER_REPORT) / ms) * 1000;
  print(
    `${reports * PER_REPORT} records in ${((end - start) / 1000).toFixed(0)} s: ${rate(reports, end - start).toFixed(0)} records/s, ` +
      `the last tenth ${rate(reports - last, end - mark).toFixed(0)}/s`,
  );
  return rate(reports, end - start);
}

/** A plain table, one row per record, in the same transactions. */
function bare(path, reports) {
  const db = new Database(path);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.exec("CREATE TABLE record (report INTEGER, ip TEXT, count INTEGER, dkim TEXT, spf TEXT, auth TEXT)");
  const insert = db.prepare("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)");
  const start = performance.now();
  for (let at = 0; at < reports; at += GROUP) {
    db.transaction(() => {
      for (let n = at; n < at + GROUP; n++) {
        const pick = random(n + 1);
        for (let i = 0; i < PER_REPORT; i++) {
          const row = record(pick, n % DOMAINS);
          insert.run(n, row.sourceIp, row.count, row.dkim, row.spf, JSON.stringify(row.dkimResults));
        }
      }
    })();
  }
  const ms = performance.now() - start;
  db.close();
  return ((reports * PER_REPORT) / ms) * 1000;
}

async function ask(path, print) {
  const reader = openArchiveReader(path);
  const pick = random(7);
  const window = () => {
    const from = FIRST + pick(DAYS - 30) * DAY;
    return { since: from, until: from + 30 * DAY };
  };
  const domain = () => `d${pick(DOMAINS)}.example.org`;
  const newest = (await reader.list("reports", {}, { limit: 1 })).items[0];
  const questions = {
    "30 days, one domain": () => reader.list("days", { ...window(), domain: domain() }, ALL),
    "30 days, all domains": () => reader.list("days", window(), ALL),
    "domains, 30 days": () => reader.list("domains", window(), ALL),
    "newest 50 reports": () => reader.list("reports", {}, { limit: 50 }),
    "newest 50 reports of a domain": () => reader.list("reports", { domain: domain() }, { limit: 50 }),
    "50 reports, 30 days, a domain": () =>
      reader.list("reports", { ...window(), domain: domain() }, { limit: 50 }),
    "newest 50 mails": () => reader.list("received", {}, { limit: 50 }),
    "one report": () => reader.report(newest.id),
    "its records": () => reader.list("records", { report: newest.id }, { limit: 100 }),
    "top 50 sources, 30 days, one domain": () =>
      reader.list("sources", { ...window(), domain: domain() }, { limit: 50 }),
    "top 50 sources, 30 days, all domains": () => reader.list("sources", window(), { limit: 50 }),
  };
  for (const [name, question] of Object.entries(questions)) {
    const times = [];
    for (let i = 0; i < 20; i++) await question(); // warm-up
    for (let i = 0; i < (name.includes("sources") && name.includes("all") ? 20 : 200); i++) {
      const start = performance.now();
      await question();
      times.push(performance.now() - start);
    }
    print(`${name}: ${percentiles(times)}`);
  }
  await reader.close();
}

function percentiles(times) {
  times.sort((a, b) => a - b);
  const at = (q) => times[Math.min(times.length - 1, Math.floor(times.length * q))].toFixed(1);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`;
}

/**
 * One client asks for the sources of a quarter 100 times, while another one looks at the counters and at one report again
 * and again: with the threads of the daemon, and with one thread for all.
 */
async function askTogether(path, print) {
  const quarter = { since: FIRST, until: FIRST + 90 * DAY };
  for (const threads of [2, 1]) {
    const archive = startArchiveReader({ path, clock: systemClock, onProblem: console.error, threads });
    await archive.list("sources", quarter, { limit: 50 });
    const { id } = (await archive.list("reports", {}, { limit: 1 })).items[0];
    const short = { "show stats": () => archive.stats(), "one report": () => archive.report(id) };
    for (const question of Object.values(short)) await question();
    const times = { "show stats": [], "one report": [] };
    let asking = true;
    const long = (async () => {
      for (let i = 0; i < 100; i++) await archive.list("sources", quarter, { limit: 50 });
      asking = false;
    })();
    while (asking) {
      for (const [name, question] of Object.entries(short)) {
        const start = performance.now();
        await question();
        times[name].push(performance.now() - start);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await long;
    for (const [name, each] of Object.entries(times))
      print(
        `${name} beside 100 x sources, ${threads} reader thread(s): ${percentiles(each)}, ${each.length} times`,
      );
    await archive.close();
  }
}

export async function run(print) {
  const records = Number(process.env.MAILREPORTD_BENCH_RECORDS ?? 10_000_000);
  const reports = Math.ceil(records / PER_REPORT / GROUP) * GROUP;
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  try {
    const path = join(dir, "archive.db");
    const rate = await fill(path, reports, print);
    const yardstick = bare(join(dir, "bare.db"), Math.ceil(reports / 20 / GROUP) * GROUP);
    print(`a plain table: ${yardstick.toFixed(0)} rows/s: ${((rate / yardstick) * 100).toFixed(0)} %`);
    const size = statSync(path).size;
    print(
      `${(size / 1e6).toFixed(0)} MB: ${(size / (reports * PER_REPORT)).toFixed(1)} bytes per record, without raw mail`,
    );
    await ask(path, print);
    await askTogether(path, print);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
