/**
 * Reports of 10,000 and 100,000 rows, from queue.db to messages: how long the main loop was blocked at most, time and
 * memory; beside writing alone (XML, gzip, message, signature), so that the cost of reading it back is seen.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { configSchema } from "../../dist/config/schema.js";
import { parseZone, zoneResolver } from "../../dist/dns/zone.js";
import { composeMail } from "../../dist/format/compose/compose.js";
import { dmarcPieces } from "../../dist/format/dmarc/write.js";
import { generateSigningKey, loadSigningKey } from "../../dist/format/mail/dkim-sign.js";
import { systemClock } from "../../dist/lib/clock.js";
import { silentLog } from "../../dist/lib/log/log.js";
import { ComposeThread } from "../../dist/report/compose/thread.js";
import { Scheduler } from "../../dist/report/scheduler.js";
import { openQueueStore } from "../../dist/store/sqlite/queue/store.js";
import { openTallyReader } from "../../dist/store/sqlite/queue/tally-reader.js";
import { watchLoop } from "./loop.js";

const BEGIN = Math.floor(Date.now() / 86_400_000) * 86_400;
const POLICY = {
  domain: "sender.example",
  p: "reject",
  sp: null,
  np: null,
  adkim: "r",
  aspf: "r",
  fo: "0",
  testing: "n",
  psd: "u",
  discovery: "treewalk",
};
const ID = `d!${POLICY.domain}!0123456789abcdef!${BEGIN}`;
const zone = parseZone('_dmarc.sender.example TXT "v=DMARC1; p=reject; rua=mailto:dmarc@sender.example"');

/** Rows as large mailbox providers have them: many addresses, few domains, random selectors. */
function eventOf(i) {
  const domain = `d${i % 997}.sender.example`;
  return {
    kind: "dmarc",
    id: null,
    time: BEGIN,
    policy: POLICY,
    rua: [],
    count: 1 + (i % 9),
    optional: false,
    spam: false,
    row: {
      sourceIp: `${1 + ((i * 7919) % 223)}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`,
      disposition: "none",
      dkimAligned: true,
      spfAligned: i % 2 === 0,
      reasons: [],
      headerFrom: domain,
      envelopeFrom: `bounce.${domain}`,
      envelopeTo: "example.org",
      dkim: [
        { domain, selector: `s${(i * 2_654_435_761) % 4_294_967_296}`, result: "pass", humanResult: null },
      ],
      spf: { domain: `bounce.${domain}`, result: "pass", humanResult: null },
    },
  };
}

function fill(store, rows) {
  const period = {
    kind: "dmarc",
    policyDomain: POLICY.domain,
    policyHash: "0123456789abcdef",
    begin: BEGIN,
    end: BEGIN + 86_399,
    due: BEGIN + 2 * 86_400,
    policy: { kind: "dmarc", policy: POLICY, rua: [] },
  };
  for (let i = 0; i < rows; i += 1000) {
    const events = Array.from({ length: Math.min(1000, rows - i) }, (_, j) => ({
      event: eventOf(i + j),
      period,
      late: false,
    }));
    store.count("bench", events, BEGIN);
  }
  store.checkpoint();
}

/** Writing without reading back, in this thread, milliseconds. */
function writing(path, config, keys) {
  const reader = openTallyReader(path);
  const begin = performance.now();
  const { rows } = reader.read(ID);
  const { domain, submitter, org_name, from } = config.report;
  const identity = { domain, submitter, orgName: org_name, from, contactInfo: null, generator: "bench" };
  const document = {
    identity,
    reportId: "bench",
    begin: BEGIN,
    end: BEGIN + 86_399,
    policy: POLICY,
    rows,
    note: null,
    profile: "both",
  };
  const body = gzipSync(Buffer.concat([...dmarcPieces(document)].map((piece) => Buffer.from(piece))), {
    level: 6,
  });
  const input = { ...document, kind: "dmarc", policyDomain: POLICY.domain };
  const written = { reportId: "bench", fileName: "bench.xml.gz", body, rows: rows.length, messages: 1 };
  composeMail(input, written, "dmarc@sender.example", 1, BEGIN, keys);
  const ms = performance.now() - begin;
  reader.close();
  return ms;
}

const shown = ({ blocked, own }) =>
  `${own.toFixed(1)} ms at most (${blocked.toFixed(1)} ms with waiting for a processor)`;

export async function run(print) {
  const config = configSchema.parse({
    report: {
      domain: "reporter.example",
      submitter: "mx.reporter.example",
      org_name: "Reporter",
      from: "noreply@reporter.example",
      keep_dropped: "0",
    },
  });
  const keys = [loadSigningKey(generateSigningKey("rsa"), "reporter.example", "k")];
  for (const rows of [10_000, 100_000]) {
    const dir = mkdtempSync(join(tmpdir(), "large-"));
    const path = join(dir, "queue.db");
    const store = openQueueStore(path, { maxRows: () => 1_000_000 });
    fill(store, rows);
    const composer = new ComposeThread({ path, clock: systemClock });
    const scheduler = new Scheduler({
      config: () => config,
      store,
      composer,
      resolver: zoneResolver(zone),
      clock: systemClock,
      log: silentLog,
      events: { emit() {} },
      secret: Buffer.alloc(32, 1),
      keys: () => keys,
      version: "bench",
      paused: () => false,
      onComposed: () => {},
    });
    globalThis.gc?.();
    const loop = watchLoop();
    const before = process.memoryUsage().rss;
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
    }, 5);
    for (let i = 0; i < 2; i++) await scheduler.requests.preview(ID); // the thread runs, and its code is compiled
    await new Promise((resolve) => setTimeout(resolve, 50));
    loop.take();
    scheduler.start();
    const begin = performance.now();
    const sent = await scheduler.requests.send(ID);
    const whole = performance.now() - begin;
    const composing = loop.take();
    while (store.nextTallyPurge(0) !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    await scheduler.idle();
    const deleting = performance.now() - begin - whole;
    const cleaning = loop.take();
    loop.stop();
    clearInterval(watch);
    if (!sent.sent) throw new Error(sent.why);
    const size = store.message(sent.messageIds[0]).size;
    await scheduler.stop();
    store.close();
    rmSync(dir, { recursive: true });

    const again = mkdtempSync(join(tmpdir(), "large-"));
    const other = openQueueStore(join(again, "queue.db"), { maxRows: () => 1_000_000 });
    fill(other, rows);
    const alone = Math.min(...[1, 2, 3].map(() => writing(join(again, "queue.db"), config, keys)));
    other.close();
    rmSync(again, { recursive: true });
    print(
      `${rows} rows: ${(whole / 1000).toFixed(2)} s, ${(whole / alone).toFixed(2)} times writing alone (${(alone / 1000).toFixed(2)} s); ` +
        `main loop blocked ${shown(composing)}; memory +${Math.round((peak - before) / 1e6)} MB; message ${(size / 1e6).toFixed(1)} MB`,
    );
    print(
      `  deleting its tallies: ${(deleting / 1000).toFixed(2)} s in slices, main loop blocked ${shown(cleaning)}`,
    );
  }
}
