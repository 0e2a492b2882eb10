/** Figures stay those of the stored reports, whatever names reports have and in whichever order data expires. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { countedWithin, type RetentionPolicy } from "../../src/model/retention.ts";
import type { Intake } from "../../src/store/archive/intake.ts";
import { ALL, ArchiveBox, mailWithXml, read } from "../support/archive-box.ts";
import { at, DAY, dmarcOf, missing, rowsOf, tlsOf } from "../support/expiring.ts";
import { intakeOf, POLICY } from "../support/intake.ts";
import { dmarcXml, mail, NOW, tlsJson } from "../support/reading.ts";

const KEEP: RetentionPolicy = {
  raw: 30 * DAY,
  failedRaw: 60 * DAY,
  records: 90 * DAY,
  feedback: 30 * DAY,
  mails: 90 * DAY,
  sums: 3650 * DAY,
};
const SHORT: RetentionPolicy = { ...KEEP, sums: 200 * DAY };
/** No domain name, but what a report may say. */
const COMMA = "a.example,a.example,b.example";

const tlsAbout = (id: string, domain: string): Intake =>
  intakeOf(
    mail([
      {
        type: "application/tlsrpt+json",
        name: "t.json",
        body: tlsJson(id).replace('"policy-domain":"example.com"', `"policy-domain":"${domain}"`),
      },
    ]),
  );

describe("figures", () => {
  let box: ArchiveBox;
  beforeEach(() => {
    box = new ArchiveBox();
    box.writer.setPolicy({ ...POLICY, countedWithin: countedWithin(KEEP) });
  });
  afterEach(() => box.remove());

  /** Reports of each domain, as its list tells and as the reports themselves are counted. */
  const pairs = (): unknown =>
    box.sql((database) =>
      database
        .prepare(
          `SELECT name, sum(reports) FROM domain_org JOIN domain ON domain.id = domain_id
           GROUP BY name HAVING sum(reports) <> 0 ORDER BY name`,
        )
        .raw()
        .all(),
    );

  describe("of a domain with a comma in its name took the reports of other domains away", () => {
    const stored = [
      ["a.example", 1],
      [COMMA, 2],
    ];
    beforeEach(async () => {
      await box.intake(
        mailWithXml(dmarcXml("good", "a.example")),
        mailWithXml(dmarcXml("bad", COMMA)),
        tlsAbout("tls", COMMA),
      );
      expect(pairs()).toEqual(stored);
    });

    it("when its mail was parsed again: its own count changes alone", async () => {
      await box.writer.reparse([2, 3], read);
      expect(pairs()).toEqual(stored);
    });

    it("when it expired: its own count changes alone, and all of it expires", async () => {
      await box.intake(at(mailWithXml(dmarcXml("new", "a.example")), NOW + 80 * DAY));
      await box.expire(NOW + 91 * DAY, KEEP);
      expect(pairs()).toEqual([["a.example", 1]]);
      await box.expire(NOW + 8000 * DAY, KEEP);
      expect(box.sql(rowsOf)).toMatchObject({ domain_org: 0, domain: 0, org: 0, report_also: 0 });
    });

    it("when it had expired, a copy of it is still a duplicate", async () => {
      await box.expire(NOW + 91 * DAY, KEEP);
      const [copy] = await box.intake(at(mailWithXml(dmarcXml("bad", COMMA)), NOW + 92 * DAY));
      expect(copy).toMatchObject({ outcome: "duplicate" });
    });
  });

  it("several policy domains of one report are counted one by one, and taken away so", async () => {
    const policies = JSON.parse(tlsJson("many")) as { policies: { policy: { "policy-domain": string } }[] };
    const [policy] = policies.policies;
    const names = Array.from({ length: 500 }, (_, n) => `d${n}.example`);
    policies.policies = names.map((name) => ({
      ...policy!,
      policy: { ...policy!.policy, "policy-domain": name },
    }));
    const body = JSON.stringify(policies);
    await box.intake(intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body }])));
    expect(pairs()).toHaveLength(500);
    await box.writer.reparse([1], read);
    expect(pairs()).toHaveLength(500);
    await box.expire(NOW + 91 * DAY, KEEP);
    expect(pairs()).toEqual([]);
  });

  it("a pair with a wrong count outlived its names, and the next names with their ids got it: it goes with them", async () => {
    await box.intake(dmarcOf("old", NOW), dmarcOf("older", NOW));
    box.sql((database) =>
      database.exec("UPDATE domain_org SET reports = CASE domain_id WHEN 1 THEN 9 ELSE -9 END"),
    );
    await box.expire(NOW + 8000 * DAY, KEEP);
    expect(box.sql(rowsOf)).toMatchObject({ domain: 0, org: 0, domain_org: 0 });
    await box.intake(dmarcOf("new", NOW + 8001 * DAY));
    expect(pairs()).toEqual([["new.example", 1]]);
  });

  describe("of days that had expired while their reports were stored went below 0", () => {
    const old = (name: string): Intake => at(dmarcOf(name, NOW - 1000 * DAY), NOW);
    /** Three days: only the first one has expired when it is NOW. */
    const long = (): Intake => {
      const begin = Math.floor((NOW - 201 * DAY) / DAY) * DAY;
      const xml = dmarcXml("long", "long.example")
        .replace(/<begin>\d+/, `<begin>${begin}`)
        .replace(/<end>\d+/, `<end>${begin + 3 * DAY - 1}`)
        .replace("<count>2", "<count>30");
      return mailWithXml(xml);
    };
    /** Messages and sessions, as counted and as the sums of the days. */
    const figures = async (): Promise<unknown> => {
      const counters = await box.counters();
      const sum = (what: string): number =>
        box.sql((database) =>
          Number(
            database
              .prepare(`SELECT coalesce(sum(${what}), 0) FROM ${what === "messages" ? "daily" : "tls_daily"}`)
              .pluck()
              .get(),
          ),
        );
      const least = (table: string, what: string): number =>
        box.sql((database) =>
          Number(database.prepare(`SELECT coalesce(min(${what}), 0) FROM ${table}`).pluck().get()),
        );
      const { "archive.message": messages = 0, "archive.tls.session": sessions = 0 } = counters;
      expect([sum("messages"), sum("successes + failures")]).toEqual([messages, sessions]);
      expect(least("daily", "messages")).toBeGreaterThanOrEqual(0);
      expect(least("daily_total", "messages")).toBeGreaterThanOrEqual(0);
      expect(least("tls_daily", "min(successes, failures)")).toBeGreaterThanOrEqual(0);
      return [messages, sessions];
    };
    beforeEach(async () => {
      await box.intake(old("a"), old("b"), at(tlsOf("c", NOW - 1000 * DAY), NOW), long());
      expect(await figures()).toEqual([34, 3]);
      box.writer.setPolicy({ ...POLICY, verifies: true, countedWithin: countedWithin(SHORT) });
      await box.expire(NOW, SHORT);
      expect(await figures()).toEqual([20, 0]);
    });

    it("when they were parsed again", async () => {
      await box.writer.reparse([1, 3], read);
      expect(await figures()).toEqual([20, 0]);
    });

    it("when an authenticated copy replaced one", async () => {
      const auth = {
        verdict: "pass",
        domain: "reporter.example",
        dkimDomains: ["reporter.example"],
        tls: "pass",
        by: "self",
        detail: null,
      } as const;
      const [better] = await box.intake({ ...old("b"), auth });
      expect(better!.reportIds).toHaveLength(1);
      expect(await figures()).toEqual([20, 0]);
    });

    it("of a report over several days, the part of the days that are stored is subtracted", async () => {
      await box.writer.reparse([4], read);
      // what is left began too long ago to count
      expect(await figures()).toEqual([0, 0]);
    });

    it("also after the archive was opened again, and when sums are kept longer again", async () => {
      await box.reopen();
      box.writer.setPolicy({ ...POLICY, countedWithin: countedWithin(KEEP) });
      await box.writer.reparse([1, 2, 3, 4], read);
      expect(await figures()).toEqual([20, 0]);
      await box.expire(NOW + DAY, KEEP);
      expect(await figures()).toEqual([20, 0]);
    });

    it("a day is given up only when sums of it were deleted: a clock that was far ahead did not end counting", async () => {
      await box.expire(NOW + 5000 * DAY, SHORT);
      box.writer.setPolicy({ ...POLICY, countedWithin: countedWithin(SHORT) });
      await box.intake(dmarcOf("new", NOW + 2 * DAY));
      expect(await figures()).toEqual([2, 0]);
    });
  });

  it("a late copy of a large report was stored in full before it was found to be a duplicate: it writes no rows", async () => {
    const [record] = /<record>.*<\/record>/.exec(dmarcXml())!;
    const records = Array.from({ length: 6000 }, (_, n) =>
      record.replace("192.0.2.1", `10.0.${n >> 8}.${n & 255}`),
    );
    const large = mailWithXml(dmarcXml("large").replace(record, records.join("")));
    await box.intake(large);
    await box.expire(NOW + 300 * DAY, KEEP);
    expect(box.sql(rowsOf)).toMatchObject({ source: 0, report: 0, expired_report: 1 });
    const [late] = await box.intake(at(large, NOW + 301 * DAY));
    expect(late).toMatchObject({ outcome: "duplicate" });
    expect(box.sql(rowsOf)).toMatchObject({ source: 0, staged_report: 0, record_block: 0 });
    expect(box.sql(missing)).toEqual([]);
    expect((await box.reader.list("reports", {}, ALL)).items).toEqual([]);
  });
});
