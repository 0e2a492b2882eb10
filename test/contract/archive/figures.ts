/** Every figure equals what is recomputed from the records and rows that are stored. */
import { describe, expect, it } from "vitest";
import type { ArchiveRow } from "../../../src/model/lists/lists.ts";
import { POLICY } from "../../support/intake.ts";
import { stage } from "../../support/parsing-archive.ts";
import { dmarcXml, NOW } from "../../support/reading.ts";
import { type ContractBox, DAY, mailWithXml } from "./box.ts";

const BEGIN = 1_700_006_400;
type StoredRecord = ArchiveRow<"records">;

const EVALUATED = ["pass", "fail", "perhaps"];

/** A report of some domain, organisation, day and evaluation, all of which follow from its number. */
function someXml(n: number): string {
  const begin = BEGIN + (n % 4) * DAY;
  const [record] = /<record>.*<\/record>/.exec(dmarcXml("", `d${n % 3}.example`))!;
  const rows = Array.from({ length: 1 + (n % 5) }, (_, i) =>
    record
      .replace("192.0.2.1", `192.0.2.${(n * i) % 7}`)
      .replace("<count>2", `<count>${1 + ((n + i) % 9)}`)
      .replace(
        "<dkim>pass</dkim><spf>fail</spf>",
        `<dkim>${EVALUATED[(n + i) % 3]}</dkim><spf>${EVALUATED[n % 2]}</spf>`,
      ),
  );
  return dmarcXml(`id${n}`, `d${n % 3}.example`)
    .replace("<org_name>Reporter<", `<org_name>Org ${n % 4}<`)
    .replace(/<begin>\d+/, `<begin>${begin}`)
    .replace(/<end>\d+/, `<end>${begin + DAY - 1}`)
    .replace(record, rows.join(""));
}

const isPass = (r: StoredRecord): boolean => r.dkim === "pass" || r.spf === "pass";
const isFail = (r: StoredRecord): boolean => r.dkim === "fail" && r.spf === "fail";

/** Sums of messages by a key. */
function sumsBy(records: readonly StoredRecord[], keyOf: (r: StoredRecord) => string | number) {
  const sums: Record<string, { messages: number; pass: number; fail: number }> = {};
  for (const record of records) {
    sums[keyOf(record)] ??= { messages: 0, pass: 0, fail: 0 };
    const sum = sums[keyOf(record)]!;
    sum.messages += record.count;
    if (isPass(record)) sum.pass += record.count;
    if (isFail(record)) sum.fail += record.count;
  }
  return sums;
}

/** The same of rows that an implementation answered; those without messages are left out. */
const asked = <T extends { messages: number; pass: number; fail: number }>(
  rows: readonly T[],
  keyOf: (row: T) => string | number,
) =>
  Object.fromEntries(
    rows
      .filter(({ messages }) => messages > 0)
      .map((row) => [keyOf(row), { messages: row.messages, pass: row.pass, fail: row.fail }]),
  );

export function figuresContract(given: () => ContractBox): void {
  async function expectFigures(): Promise<void> {
    const box = given();
    const all = await box.rows("records", {}, 97);
    const counted = all.filter((record) => record.counted);
    const day = (r: StoredRecord) => r.begin - (r.begin % DAY);
    expect(asked(await box.rows("days"), (row) => row.day)).toEqual(sumsBy(counted, day));
    expect(asked(await box.rows("domains"), (row) => row.domain)).toEqual(
      sumsBy(counted, (r) => r.policy_domain),
    );
    expect(asked(await box.rows("sources", {}, 100), (row) => row.source)).toEqual(
      sumsBy(counted, (r) => r.source_ip),
    );
    for (const domain of ["d0.example", "d1.example"]) {
      const ours = counted.filter((r) => r.policy_domain === domain);
      expect(asked(await box.rows("days", { domain }), (row) => row.day)).toEqual(sumsBy(ours, day));
    }
    const ours = counted.filter((r) => r.org_name === "Org 1");
    expect(asked(await box.rows("days", { org: "org 1" }), (row) => row.day)).toEqual(sumsBy(ours, day));
    const messages = counted.reduce((sum, r) => sum + r.count, 0);
    const pass = counted.filter(isPass).reduce((sum, r) => sum + r.count, 0);
    const reports = await box.rows("reports", {}, 7);
    const mails = await box.rows("received", {}, 7);
    const stats = await box.questions.stats();
    const of = (name: string): number => stats[name] ?? 0;
    expect([
      of("archive.message"),
      of("archive.message.pass"),
      of("archive.record"),
      of("archive.report.dmarc"),
      of("archive.uncounted.dmarc"),
      of("archive.mail"),
      of("archive.unparsed"),
      of("archive.outcome.duplicate"),
    ]).toEqual([
      messages,
      pass,
      counted.length,
      reports.length,
      reports.filter((r) => !r.counted).length,
      mails.length,
      mails.filter((m) => m.outcome === "spooled").length,
      mails.filter((m) => m.outcome === "duplicate").length,
    ]);
  }

  describe("figures", () => {
    it("equal what is recomputed from the records, after each kind of change", async () => {
      const mails = Array.from({ length: 40 }, (_, n) => mailWithXml(someXml(n)));
      await given().intake(mails.slice(0, 20));
      await expectFigures();
      await given().spool(...mails.slice(15, 25)); // some of them are duplicates
      await expectFigures();
      await given().parsing.parseSpooled(stage, 6);
      await expectFigures();
      given().setPolicy({ ...POLICY, domains: ["d0.example", "d1.example"] });
      await given().intake(mails.slice(25)); // those of d2.example do not count
      await given().parsing.parseSpooled(stage, 20);
      await expectFigures();
      given().setPolicy({ ...POLICY, domains: ["d2.example"] });
      await given().parsing.reparse([1, 2, 3, 4, 5, 30, 31], stage);
      await expectFigures();
      given().setPolicy({ ...POLICY, verifies: true });
      const auth = { ...mails[0]!.auth, verdict: "pass" as const, domain: "reporter.example", by: "own" };
      await given().intake(mails.slice(5, 12).map((one) => ({ ...one, auth }))); // they replace the others
      await expectFigures();
      await given().reopen();
      await expectFigures();
    });

    it("equal what is recomputed while mails are stored at the same time", async () => {
      const work = Array.from({ length: 30 }, (_, n) => given().intake([mailWithXml(someXml(n % 20))]));
      await given().spool(mailWithXml(someXml(50)), mailWithXml(someXml(51)));
      work.push(given().parsing.parseSpooled(stage, 8));
      await Promise.all(work);
      await expectFigures();
      await Promise.all([
        given().parsing.reparse([1, 3, 5], stage),
        given().intake([mailWithXml(someXml(60), someXml(61))]),
        given().parsing.reparse([3, 1], stage),
      ]);
      await expectFigures();
    });

    it("pages do not repeat or lose what was there while mail comes in", async () => {
      await given().intake(Array.from({ length: 20 }, (_, n) => mailWithXml(someXml(n))));
      const seen = { reports: [] as string[], mails: [] as string[] };
      let afterReport: string | undefined;
      let afterMail: string | undefined;
      for (let n = 100; ; n++) {
        const reports = await given().questions.list(
          "reports",
          {},
          { limit: 3, ...(afterReport ? { after: afterReport } : {}) },
        );
        const mails = await given().questions.list(
          "received",
          {},
          { limit: 3, ...(afterMail ? { after: afterMail } : {}) },
        );
        seen.reports.push(...reports.items.map(({ id }) => id));
        seen.mails.push(...mails.items.map(({ id }) => id));
        if (reports.next === null || mails.next === null) break;
        afterReport = reports.next;
        afterMail = mails.next;
        await given().intake([mailWithXml(someXml(n))]);
      }
      const expected = (letter: string) => Array.from({ length: 20 }, (_, n) => `${letter}${20 - n}`);
      expect(seen).toEqual({ reports: expected("r"), mails: expected("m") });
      expect(await given().questions.list("reports", { since: NOW }, { limit: 3 })).toEqual({
        items: [],
        next: null,
      });
    });
  });
}
