/**
 * Evaluations per second into tallies: batches of 500 lines for 1,000 open reports, each batch durable. Yardstick: the
 * same lines inserted unchanged into one table, in the same batches, with the same SQLite.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configSchema } from "../../dist/config/schema.js";
import { makeFeeder, parseContext } from "../../dist/feed/batch.js";
import { parseFeedLine } from "../../dist/feed/parse.js";
import { systemClock } from "../../dist/lib/clock.js";
import { makeCounter } from "../../dist/report/counter.js";
import { openDatabase } from "../../dist/store/sqlite/open.js";
import { openQueueStore } from "../../dist/store/sqlite/queue/store.js";

const BATCH = 500;
const REPORTS = 1000;
const EVENTS = 100_000;
const GOAL = 80_000;

/** @param {(line: string) => void} print */
export async function run(print) {
  const dir = mkdtempSync(join(tmpdir(), "bench-feed-"));
  try {
    const config = effectiveConfig();
    const now = Math.floor(Date.now() / 1000);
    const lines = Array.from({ length: EVENTS }, (_, i) => lineOf(i, now));
    const yardstick = plainInserts(join(dir, "plain.db"), lines);
    const context = parseContext(config, now);
    const events = lines.map((text) => {
      const parsed = parseFeedLine(text, context);
      if (!parsed.ok) throw new Error(parsed.reason);
      return parsed.event;
    });

    for (const [name, ids] of [
      ["without ids", false],
      ["with ids", true],
    ]) {
      const { store, count } = open(join(dir, `count-${ids}.db`), config);
      const given = ids ? events : events.map((event) => ({ ...event, id: null }));
      const rate = timed(EVENTS, () => inBatches(given, (batch) => count("bench", batch)));
      check(store, EVENTS);
      print(row(`evaluations counted ${name}`, rate, yardstick, ids ? undefined : GOAL));
      if (ids) await polls(store, print);
      store.close();
    }

    const { store, count } = open(join(dir, "lines.db"), config);
    const feeder = makeFeeder({ config: () => config, clock: systemClock, count, events: { emit() {} } });
    const numbered = lines.map((text, i) => ({ number: i + 1, text }));
    const rate = timed(EVENTS, () => inBatches(numbered, (batch) => feeder.lines("bench", batch)));
    check(store, EVENTS);
    print(row("lines parsed, checked and counted, with ids", rate, yardstick));
    store.close();
    print(`yardstick, plain inserts of the lines: ${Math.round(yardstick)}/s`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function effectiveConfig() {
  const raw = configSchema.parse({});
  const report = {
    ...raw.report,
    domain: "reporter.example",
    submitter: "mx.reporter.example",
    from: "r@reporter.example",
  };
  return { ...raw, hostname: "mx.reporter.example", report };
}

/** An evaluation; each domain has about fifty different rows, as a small sender has in a day. */
function lineOf(i, now) {
  const domain = `d${i % REPORTS}.example`;
  const variant = Math.floor(i / REPORTS) % 50;
  return JSON.stringify({
    v: 1,
    kind: "dmarc",
    id: `mx1/${i}`,
    time: now - 60,
    source_ip: `192.0.2.${variant}`,
    header_from: domain,
    envelope_from: `bounce.${domain}`,
    envelope_to: "rx.example",
    policy: { domain, p: "reject", rua: [`mailto:dmarc@${domain}`] },
    disposition: "none",
    dkim_aligned: true,
    spf_aligned: true,
    dkim: [{ domain, selector: "s1", result: "pass" }],
    spf: { domain: `bounce.${domain}`, result: "pass", scope: "mfrom" },
  });
}

function plainInserts(path, lines) {
  const database = openDatabase(path);
  database.exec("CREATE TABLE line (n INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT");
  const insert = database.prepare("INSERT INTO line (text) VALUES (?)");
  const batchOf = database.transaction((batch) => {
    for (const text of batch) insert.run(text);
  });
  const rate = timed(lines.length, () => inBatches(lines, batchOf));
  database.close();
  return rate;
}

function open(path, config) {
  const store = openQueueStore(path, { maxRows: () => config.report.max_rows });
  const secret = Buffer.alloc(32, 1);
  const count = makeCounter({
    config: () => config,
    store,
    clock: systemClock,
    secret,
    events: { emit() {} },
    onOpened: () => {},
  });
  return { store, count };
}

function check(store, events) {
  const counted = store.stats()["outgoing.message"];
  if (counted !== events) throw new Error(`${counted} of ${events} were counted`);
}

/** The time of the query for due envelopes in a queue of 100,000. */
async function polls(store, print) {
  const now = Math.floor(Date.now() / 1000);
  const due = store.listOutgoing({}, { limit: 100 }).items;
  for (const [i, report] of due.entries()) {
    const messages = Array.from({ length: 1000 }, (_, k) =>
      messageOf(report, (i * 1000 + k + 1).toString(16).padStart(8, "0"), now + 60 + k),
    );
    store.compose(report.id, messages, now, null);
  }
  const times = [];
  for (let i = 0; i < 1000; i++) {
    const began = performance.now();
    store.nextEnvelopeDue();
    store.leaseEnvelopes(now, 50, new Set());
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  const median = times[500];
  print(`polls of 100,000 waiting envelopes: ${(median * 1000).toFixed(0)} µs (goal ≤ 100)`);
}

function messageOf(report, id, nextAt) {
  const rcpt = `dmarc@${report.policyDomain}`;
  return {
    message: {
      id,
      kind: report.kind,
      outgoingId: report.id,
      policyDomain: report.policyDomain,
      reportId: id,
      messageId: `<${id}@mx.reporter.example>`,
      fileName: "report.xml.gz",
      sender: `r+${id}@reporter.example`,
      size: 4,
      createdAt: nextAt,
    },
    raw: Buffer.from("mail"),
    envelopes: [
      {
        id: `${id}00000001`,
        rcpt,
        transport: "smtp",
        destination: report.policyDomain,
        nextAt,
        expiresAt: nextAt + 86_400,
      },
    ],
  };
}

function inBatches(items, work) {
  for (let i = 0; i < items.length; i += BATCH) work(items.slice(i, i + BATCH));
}

function timed(n, work) {
  const began = performance.now();
  work();
  return (n / (performance.now() - began)) * 1000;
}

function row(name, rate, yardstick, goal) {
  const share = `${((rate / yardstick) * 100).toFixed(0)} % of plain inserts`;
  return `${name}: ${Math.round(rate)}/s, ${share}${goal === undefined ? "" : ` (goal ≥ ${goal}/s)`}`;
}
