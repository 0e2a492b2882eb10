/** Expiry of mails, reports, day sums and names: an archive stops growing, and nothing that is referred to is deleted. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ArchiveListName } from "../../src/model/lists/lists.ts";
import { countedWithin, type RetentionPolicy } from "../../src/model/retention.ts";
import { addCancelCheck, neverCancelled } from "../../src/store/sqlite/archive/cancel.ts";
import { expirable } from "../../src/store/sqlite/archive/expiry/count.ts";
import { openArchiveWriter } from "../../src/store/sqlite/archive/writer.ts";
import type { Sqlite } from "../../src/store/sqlite/open.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { ALL, ArchiveBox, mailWithXml, read } from "../support/archive-box.ts";
import { at, brokenOf, DAY, dmarcOf, feedbackOf, missing, rowsOf, tlsOf } from "../support/expiring.ts";
import { intakeOf, POLICY } from "../support/intake.ts";
import { dmarcXml, mail, NOW, tlsJson } from "../support/reading.ts";

const KEEP: RetentionPolicy = {
  raw: 30 * DAY,
  failedRaw: 60 * DAY,
  records: 90 * DAY,
  feedback: 30 * DAY,
  mails: 90 * DAY,
  sums: 180 * DAY,
};
const PERIOD = 30 * DAY;
describe("expiry of rows", () => {
  let box: ArchiveBox;
  beforeEach(() => {
    box = new ArchiveBox();
    box.writer.setPolicy({ ...POLICY, countedWithin: countedWithin(KEEP) });
  });
  afterEach(() => box.remove());

  /** All rows of a list. */
  const rowsIn = async <N extends ArchiveListName>(name: N) => (await box.reader.list(name, {}, ALL)).items;

  /** One period: mail of every kind, some of names that come back and some of names that do not; then expiry. */
  async function period(n: number): Promise<void> {
    const now = NOW + n * PERIOD;
    await box.intake(
      dmarcOf("constant", now),
      dmarcOf(`once${n}`, now),
      dmarcOf(`once${n}`, now),
      tlsOf(`tls${n}`, now),
      feedbackOf(`failure${n}`, now),
      brokenOf(now),
    );
    await box.expire(now, KEEP);
  }

  it("an archive grew for ever: the number of rows of each table is the same period after period", async () => {
    const counts: Record<string, number>[] = [];
    for (let n = 0; n < 15; n++) {
      await period(n);
      counts.push(box.sql(rowsOf));
    }
    expect(counts.at(-2)).toEqual(counts.at(-1));
    expect(counts.at(-5)).toEqual(counts.at(-1));
    // none of them is empty by chance, and none holds what the last two periods did not use
    expect(counts.at(-1)).toMatchObject({ mail: 24, report: 14 });
    expect(counts.at(-1)!.source).toBeLessThan(15);
    expect(counts.at(-1)!.domain).toBeGreaterThan(3);
    expect(box.sql(missing)).toEqual([]);
  });

  it("counters told of mails and reports that were gone: they tell what is stored", async () => {
    await period(0);
    await box.writer.reparse([1, 2, 6], read);
    await box.expire(NOW + 500 * DAY, KEEP);
    expect(await box.counters()).toEqual({});
    expect(box.sql(rowsOf)).toMatchObject({
      mail: 0,
      report: 0,
      daily: 0,
      daily_total: 0,
      tls_daily: 0,
      org: 0,
    });
  });

  it("a late copy of an expired report counted again: it is a duplicate, or a conflict, while its sums are stored", async () => {
    const [report, other] = [dmarcOf("a", NOW), tlsOf("b", NOW)];
    await box.intake(report, other);
    const days = await rowsIn("days");
    await box.expire(NOW + 91 * DAY, KEEP);
    expect(box.sql(rowsOf)).toMatchObject({ mail: 0, report: 0, expired_report: 2 });
    box.writer.setPolicy(POLICY); // whatever its age
    const late = await box.intake(at(report, NOW + 92 * DAY), at(other, NOW + 92 * DAY));
    expect(late.map(({ outcome }) => outcome)).toEqual(["duplicate", "duplicate"]);
    const changed = intakeOf(Buffer.from(Buffer.from(report.raw).toString().replace("<count>2", "<count>3")));
    expect(await box.intake(at(changed, NOW + 92 * DAY))).toMatchObject([{ outcome: "duplicate-conflict" }]);
    expect(await rowsIn("days")).toEqual(days);
    await box.expire(NOW + 300 * DAY, KEEP);
    expect(box.sql(rowsOf)).toMatchObject({ expired_report: 0, daily_total: 0 });
  });

  it("an expired report that was not counted kept an authenticated copy from counting: it leaves no key", async () => {
    box.writer.setPolicy({ ...POLICY, domains: ["ours.example"] });
    const report = dmarcOf("theirs", NOW);
    await box.intake(report);
    await box.expire(NOW + 91 * DAY, KEEP);
    box.writer.setPolicy(POLICY);
    expect(await box.intake(at(report, NOW + 92 * DAY))).toMatchObject([{ outcome: "imported" }]);
    expect(await box.messages()).toBe(2);
  });

  it("a report whose day sums had expired counted again: it is kept, and does not enter the figures", async () => {
    const report = dmarcOf("a", NOW);
    await box.intake(report);
    await box.expire(NOW + 400 * DAY, KEEP);
    expect(await box.messages()).toBe(0);
    expect(await box.intake(at(report, NOW + 400 * DAY))).toMatchObject([{ outcome: "imported" }]);
    expect(await rowsIn("reports")).toMatchObject([{ counted: false }]);
    expect(await box.messages()).toBe(0);
  });

  it("a report as old as one that counts may be: its day sums stay as long as its row", async () => {
    const youngest = at(dmarcOf("b", NOW), NOW + countedWithin(KEEP) - DAY);
    await box.intake(youngest);
    expect(await box.messages()).toBe(2);
    await box.expire(youngest.hints.receivedAt + KEEP.mails - DAY, KEEP);
    expect(await box.messages()).toBe(2); // not before the row of the report
  });

  it("figures of a domain when its reports have expired: the sums stay, with the time of the last report", async () => {
    await box.intake(dmarcOf("a", NOW));
    const [before] = await rowsIn("domains");
    expect(before).toMatchObject({ reports: 1, reporters: 1, last_report_at: NOW });
    await box.expire(NOW + 91 * DAY, KEEP);
    expect(await rowsIn("domains")).toEqual([{ ...before, reports: 0, reporters: 0 }]);
    expect(await rowsIn("reporters")).toEqual([]);
  });

  it("rows of mails went before the bytes that belong to them: the longest time wins", async () => {
    await box.intake(dmarcOf("a", NOW), brokenOf(NOW));
    const short = { ...KEEP, mails: DAY, sums: DAY, failedRaw: 120 * DAY };
    await box.expire(NOW + 119 * DAY, short);
    expect(box.sql(rowsOf)).toMatchObject({ mail: 2, raw: 1, report: 1, daily_total: 1 });
    await box.expire(NOW + 121 * DAY, short);
    expect(box.sql(rowsOf)).toMatchObject({ mail: 0, raw: 0, report: 0, daily_total: 1 });
  });

  it("mail that is not parsed yet expired with the others: it stays with its bytes", async () => {
    await box.spool(dmarcOf("a", NOW));
    await box.expire(NOW + 900 * DAY, KEEP);
    expect(box.sql(rowsOf)).toMatchObject({ mail: 1, raw: 1 });
    expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ outcome: "imported" }]);
    await box.expire(NOW + 900 * DAY, KEEP);
    expect(box.sql(rowsOf)).toMatchObject({ mail: 0, raw: 0, record_block: 0 });
  });

  it("the bytes of a mail that failed and was parsed later were kept as if it had not been", async () => {
    await box.intake(brokenOf(NOW), dmarcOf("a", NOW));
    const classes = () => box.sql((db) => db.prepare("SELECT raw FROM mail ORDER BY id").pluck().all());
    expect(classes()).toEqual([2, 1]);
    await box.writer.reparse([1], (_, hints) => read(dmarcOf("b", NOW).raw, hints));
    expect(classes()).toEqual([1, 1]);
    await box.writer.reparse([2], (_, hints) => read(brokenOf(NOW).raw, hints));
    expect(classes()).toEqual([1, 2]);
    await box.expire(NOW + 31 * DAY, KEEP);
    expect(classes()).toEqual([0, 2]);
  });

  it("names that stored data refers to were deleted: after each step, whatever the clock does, all are there", async () => {
    let seed = 42;
    const pick = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let now = NOW;
    let last = 0;
    for (let step = 0; step < 150; step++) {
      // forward by days or months, at times backward or far ahead
      now += [DAY, 5 * DAY, 20 * DAY, 45 * DAY, -40 * DAY, 400 * DAY, -300 * DAY][
        pick(step % 10 === 0 ? 7 : 4)
      ]!;
      const received = now + [0, 0, 0, 60 * DAY, -100 * DAY][pick(5)]!;
      const name = `n${pick(12)}`;
      await box.intake(dmarcOf(name, received), tlsOf(name, received));
      if (pick(4) === 0) await box.spool(dmarcOf(`s${pick(5)}`, received));
      last += 2;
      if (pick(3) === 0) await box.writer.parseSpooled(read, 4);
      if (pick(3) === 0) await box.writer.reparse([1 + pick(last), 1 + pick(last)], read);
      await box.expire(now, KEEP);
      expect(box.sql(missing), `step ${step}`).toEqual([]);
    }
  }, 120_000);

  it("ids of names were cached when their rows had been deleted: a report that comes later has rows of its own", async () => {
    await box.intake(dmarcOf("a", NOW), tlsOf("b", NOW));
    await box.expire(NOW + 1000 * DAY, KEEP);
    expect(box.sql(rowsOf)).toMatchObject({ source: 0, authset: 0, head: 0, domain: 0, org: 0 });
    const later = NOW + 1000 * DAY;
    await box.intake(dmarcOf("c", later), tlsOf("d", later), dmarcOf("a", later), tlsOf("b", later));
    expect(box.sql(missing)).toEqual([]);
    expect((await rowsIn("domains")).map(({ domain }) => domain).sort()).toEqual([
      "a.example",
      "c.example",
      "example.com",
    ]);
  });

  it("names went while a report that refers to them was being stored in steps: they wait for it", async () => {
    await box.intake(dmarcOf("a", NOW));
    await box.writer.close();
    const later = NOW + 1000 * DAY;
    const slice = async (): Promise<void> => {
      // one slice deletes all that it may
      const writer = openArchiveWriter(box.path, { elapsed: () => 0 });
      box.sql((db) =>
        db.exec("INSERT OR IGNORE INTO staged_report (id) SELECT 99 WHERE EXISTS (SELECT 1 FROM report)"),
      );
      await writer.expire(later, KEEP, 1_000_000);
      await writer.close();
    };
    await slice();
    expect(box.sql(rowsOf)).toMatchObject({ report: 0, source: 1, head: 1 });
    await slice();
    expect(box.sql(rowsOf)).toMatchObject({ source: 0, head: 0 });
    await box.reopen();
  });

  it("a row was written with each use of a name: once a month", async () => {
    await box.intake(dmarcOf("a", NOW));
    const used = () => box.sql((db) => db.prepare("SELECT used FROM source").pluck().get());
    const month = Math.floor(NOW / PERIOD);
    expect(used()).toBe(month);
    await box.intake(dmarcOf("a", NOW - 40 * DAY)); // an older one does not shorten its life
    expect(used()).toBe(month);
    await box.intake(dmarcOf("a", NOW + 40 * DAY));
    expect(used()).toBe(Math.floor((NOW + 40 * DAY) / PERIOD));
  });

  it("what a dry run counts is what is deleted, and is found by index", async () => {
    for (let n = 0; n < 4; n++) await period(n);
    const now = NOW + 100 * DAY + 3 * PERIOD;
    const count = () => box.reader.expirable(now, KEEP);
    const before = box.sql(rowsOf);
    const would = await count();
    await box.expire(now, KEEP);
    const after = box.sql(rowsOf);
    const gone = (...tables: string[]) => tables.reduce((sum, t) => sum + before[t]! - after[t]!, 0);
    expect(would).toMatchObject({
      mails: gone("mail"),
      raw_mails: gone("raw"),
      day_sums: gone("daily", "daily_total", "tls_daily"),
    });
    expect(would.reports_with_records).toBeGreaterThan(0);
    expect(new Set(Object.values(await count()))).toEqual(new Set([0]));
  });
});

describe("a slice of expiry", () => {
  let box: ArchiveBox;
  beforeEach(() => {
    box = new ArchiveBox();
  });
  afterEach(() => box.remove());

  const blocksOf = (database: Sqlite) => rowsOf(database).record_block;

  it("a report with many rows was deleted at once: it takes several slices, and is found again after each", async () => {
    const row = /<record>.*<\/record>/s.exec(dmarcXml())![0];
    const many = dmarcXml().replace(row, Array.from({ length: 60_000 }, () => row).join(""));
    const failure = { "result-type": "certificate-expired", "failed-session-count": 1 };
    const json = JSON.parse(tlsJson()) as { policies: Record<string, unknown>[] };
    json.policies[0]!["failure-details"] = Array.from({ length: 1500 }, (_, i) => ({
      ...failure,
      "sending-mta-ip": `10.0.${i >> 8}.${i & 255}`,
    }));
    const body = JSON.stringify(json);
    await box.intake(
      mailWithXml(many),
      intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body }])),
    );
    const blocks = box.sql(blocksOf)!;
    const failures = box.sql(rowsOf).tls_failure!;
    expect([blocks > 200, failures]).toEqual([true, 1500]);
    const now = NOW + 400 * DAY;
    const slices: number[] = [];
    for (let more = true; more; ) {
      const slice = await box.writer.writer.expire(
        now,
        { ...KEEP, mails: 4000 * DAY, sums: 9000 * DAY },
        100,
      );
      slices.push(slice.rows);
      more = slice.more;
      if (slices.length === 4) await box.reopen();
    }
    expect(Math.max(...slices)).toBeLessThan(300);
    expect(box.sql(rowsOf)).toMatchObject({ record_block: 0, tls_failure: 0, tls_policy: 0, report: 2 });
    expect((await box.counters())["archive.record"]).toBeUndefined();
  });

  it("a slice went on for as long as it took: it ends when its time is over", async () => {
    await box.intake(...Array.from({ length: 40 }, (_, n) => dmarcOf(`n${n}`, NOW)));
    await box.writer.close();
    let time = 0;
    const writer = openArchiveWriter(box.path, { elapsed: () => (time += 5) });
    const slice = await writer.expire(NOW + 31 * DAY, KEEP, 1_000_000);
    expect(slice).toEqual({ rows: expect.any(Number), more: true });
    expect(slice.rows).toBeLessThan(40);
    await writer.close();
    await box.reopen();
  });

  it("each slice looked again at what stays: all that it looks for is found by index", async () => {
    await box.intake(dmarcOf("a", NOW), tlsOf("b", NOW), feedbackOf("c", NOW));
    const database = openDatabase(box.path);
    const texts: string[] = [];
    const watched = new Proxy(database, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (name === "prepare") {
          return (sql: string) => {
            texts.push(sql);
            return target.prepare(sql);
          };
        }
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
    addCancelCheck(watched, neverCancelled);
    expirable(watched, NOW, KEEP);
    const { makeExpiry } = await import("../../src/store/sqlite/archive/expiry/expiry.ts");
    makeExpiry(watched, {
      sums: { count() {} } as never,
      notes: { forgotten() {} },
      transaction: { run: (work) => work(), end() {} },
      remove() {},
      forgetNames() {},
      elapsed: () => 0,
    });
    const plans = texts.flatMap((sql) => {
      // without checks of foreign keys, as expiry deletes names
      const ofNames = /^DELETE FROM (source|authset|head|domain|org) /.test(sql);
      database.pragma(`foreign_keys = ${ofNames ? "OFF" : "ON"}`);
      const values = Array.from({ length: sql.split("?").length - 1 }, () => 0);
      const steps = database
        .prepare<unknown[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`)
        .all(...values);
      return steps.map(({ detail }) => ({ sql, detail }));
    });
    database.close();
    const scans = plans.filter(({ detail }) => detail.startsWith("SCAN"));
    // the domains are gone through once a day
    expect(
      scans.map(({ detail }) => detail).filter((detail) => !/^SCAN (domain|staged_report)\b/.test(detail)),
    ).toEqual([]);
    expect(plans.length).toBeGreaterThan(30);
  });

  it("unused pages were all given back, and asked for again at once: expiry leaves a reserve", async () => {
    await box.intake(
      ...Array.from({ length: 12 }, (_, n) => {
        const noise = Buffer.alloc(600_000, `noise ${n} `).toString("base64");
        return at(intakeOf(Buffer.concat([dmarcOf(`n${n}`, NOW).raw, Buffer.from(`\r\n${noise}`)])), NOW);
      }),
    );
    await box.expire(NOW + 31 * DAY, KEEP);
    const size = await box.reader.size();
    expect(size.raw_mails).toBe(0);
    expect(size.free_pages).toBeLessThanOrEqual(1024);
    expect(size.free_pages).toBeGreaterThan(900);
    expect(await box.writer.writer.vacuum(16)).toBe(size.free_pages - 16);
    while ((await box.writer.writer.vacuum(1000)) > 0);
    expect((await box.reader.size()).free_pages).toBe(0);
  });
});
