/** What `put` stores, and which reports are new, duplicates or conflicts. */
import { describe, expect, it } from "vitest";
import { intakeOf, POLICY } from "../../support/intake.ts";
import { type Stage, stage } from "../../support/parsing-archive.ts";
import { dmarcXml, mail, tlsJson } from "../../support/reading.ts";
import { type ContractBox, DAY, mailWithXml } from "./box.ts";

const lasting = (id: string, begin: number, end: number, count: number): string =>
  dmarcXml(id)
    .replace(/<begin>\d+/, `<begin>${begin}`)
    .replace(/<end>\d+/, `<end>${end}`)
    .replace(/<count>\d+/, `<count>${count}`);
/** Finds no report. */
const nothing: Stage = (raw, hints) => stage(raw.subarray(0, 20), hints);

export function putContract(given: () => ContractBox): void {
  describe("put", () => {
    it("keeps a mail, its report and its records", async () => {
      const sent = mailWithXml(dmarcXml());
      const [result] = await given().intake([sent]);
      expect(result).toMatchObject({ outcome: "imported", reason: null, reportIds: [1] });
      expect(await given().questions.receivedMail("m1")).toMatchObject({
        outcome: "imported",
        envelope_to: ["dmarc@example.com"],
        subject: "report",
        reports: ["r1"],
        raw_kept: true,
      });
      expect(Buffer.from((await given().questions.rawMail("m1"))!)).toEqual(Buffer.from(sent.raw));
      expect(await given().questions.report("r1")).toMatchObject({
        kind: "dmarc",
        org_name: "Reporter",
        report_id: "r1",
        policy_domain: "example.com",
        records: 1,
        messages: 2,
        pass_messages: 2,
      });
      const { items } = await given().questions.list("records", { report: "r1" }, { limit: 10 });
      expect(items).toMatchObject([
        { source_ip: "192.0.2.1", count: 2, dkim: "pass", spf: "fail", header_from: "example.com" },
      ]);
      expect(await given().rows("sources", {}, 10)).toMatchObject([
        { source: "192.0.2.1", messages: 2, pass: 2, fail: 0 },
      ]);
      expect(await given().stats()).toMatchObject({
        "archive.mail": 1,
        "archive.outcome.imported": 1,
        "archive.report.dmarc": 1,
      });
    });

    it("keeps a TLS report with its policies", async () => {
      await given().intake([
        intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body: tlsJson() }])),
      ]);
      expect(await given().questions.report("r1")).toMatchObject({
        kind: "tls",
        policy_domain: "example.com",
      });
      expect(await given().questions.tlsPolicies("r1")).toMatchObject([
        { policyType: "sts", successes: 3, failures: 0 },
      ]);
      expect(await given().rows("domains")).toMatchObject([
        { domain: "example.com", tls_sessions: 3, tls_failures: 0 },
      ]);
    });

    it("counts a report once, and tells another one of the same id from it", async () => {
      const [first, again, other] = await given().intake([
        mailWithXml(dmarcXml()),
        mailWithXml(dmarcXml().replace("<count>2</count>", "<count> 2 </count>")),
        mailWithXml(dmarcXml().replace("<count>2", "<count>3")),
      ]);
      expect([first?.outcome, again?.outcome, other?.outcome]).toEqual([
        "imported",
        "duplicate",
        "duplicate-conflict",
      ]);
      expect(await given().questions.receivedMail("m2")).toMatchObject({ raw_kept: false, reports: [] });
      expect(await given().questions.receivedMail("m3")).toMatchObject({ raw_kept: true, reports: [] });
      expect(await given().total()).toBe(2);
      expect(await given().stats()).toMatchObject({
        "archive.mail": 3,
        "archive.report.dmarc": 1,
        "archive.outcome.duplicate": 1,
        "archive.outcome.duplicate-conflict": 1,
      });
    });

    it("tells reports without an id apart by all of their content, in any order of its parts", async () => {
      const record = /<record>.*<\/record>/.exec(dmarcXml())![0];
      const numbered = (n: number) => record.replace("192.0.2.1", `198.51.${n >> 8}.${n & 255}`);
      const [head] = dmarcXml("").split("<record>");
      const report = (from: number, count: number): string =>
        `${head}${Array.from({ length: count }, (_, i) => numbered(from + i)).join("")}</feedback>`;
      const metadataLast = (xml: string): string => {
        const metadata = /<report_metadata>.*<\/report_metadata>/.exec(xml)![0];
        return xml.replace(metadata, "").replace("</feedback>", `${metadata}</feedback>`);
      };
      const outcomes = async (...xml: string[]) =>
        (
          await given().intake(
            xml.map((one) => mailWithXml(one)),
            stage,
          )
        ).map((r) => [r.outcome, r.items.map((i) => i.ok && i.kept)]);
      // one record, and more than are held in memory
      for (const count of [1, 1500]) {
        const [one, other] = [report(0, count), report(3000, count)];
        expect(await outcomes(one, other, one, metadataLast(other)), `${count} records`).toEqual([
          ["imported-with-warnings", ["new"]],
          ["imported-with-warnings", ["new"]],
          ["duplicate", ["duplicate"]],
          ["duplicate", ["duplicate"]],
        ]);
      }
      expect(await given().total()).toBe(2 * 2 * 1501);
      const { items } = await given().questions.list("reports", {}, { limit: 10 });
      expect(new Set(items.map((r) => r.report_id)).size).toBe(4);
      for (const { report_id } of items) expect(report_id).toMatch(/^sha256:[0-9a-f]{64}$/);
    });

    it("keeps the reports of a mail that could be parsed, and nothing of a damaged one", async () => {
      const damaged = dmarcXml("r2").replace("</record></feedback>", "</rec");
      const [partial, invalid, whole] = await given().intake([
        mailWithXml(dmarcXml(), damaged),
        mailWithXml(damaged),
        mailWithXml(dmarcXml("r3")),
      ]);
      expect(partial).toMatchObject({ outcome: "partial", reportIds: [1] });
      expect(invalid).toMatchObject({ outcome: "invalid", reportIds: [] });
      expect(whole).toMatchObject({ outcome: "imported" });
      const { items } = await given().questions.list("reports", {}, { limit: 10 });
      expect(items.map((r) => r.report_id).sort()).toEqual(["r1", "r3"]);
      expect((await given().questions.list("records", {}, { limit: 10 })).items).toHaveLength(2);
      expect(await given().total()).toBe(4);
    });

    it("keeps a mail raw when a bug stops the parser, and stores the others of the batch", async () => {
      const results = await given().intake(
        [mailWithXml(dmarcXml("a")), mailWithXml(dmarcXml("b")), mailWithXml(dmarcXml("c"))],
        (raw, hints) => {
          const reading = stage(raw, hints);
          if (reading.items.some((item) => item.ok && item.figures.reportId === "b")) throw new Error("bug");
          return reading;
        },
      );
      expect(results.map((r) => r.reason)).toEqual([null, "internal", null]);
      expect(await given().questions.receivedMail("m2")).toMatchObject({
        outcome: "invalid",
        raw_kept: true,
      });
      expect(await given().total()).toBe(4);
      expect(await given().stats()).toMatchObject({
        "archive.report.dmarc": 2,
        "archive.outcome.imported": 2,
      });
    });

    it("spreads a long report over its days without losing messages", async () => {
      const begin = Math.floor(1_700_006_400 / DAY) * DAY;
      await given().intake([mailWithXml(lasting("long", begin, begin + 3 * DAY - 1, 10))]);
      const days = await given().rows("days");
      expect(days.map((d) => d.day)).toEqual([begin, begin + DAY, begin + 2 * DAY]);
      expect(days.map((d) => d.messages).sort()).toEqual([3, 3, 4]);
      expect(await given().rows("days", { org: "reporter" })).toEqual(days);
      await given().parsing.reparse([1], nothing);
      expect(await given().rows("days")).toMatchObject([{ messages: 0 }, { messages: 0 }, { messages: 0 }]);
    });

    it("leaves reports about foreign domains out of the figures", async () => {
      given().setPolicy({ ...POLICY, domains: ["example.com"] });
      await given().intake([mailWithXml(dmarcXml("a")), mailWithXml(dmarcXml("b", "other.example"))]);
      expect(await given().questions.report("r2")).toMatchObject({ foreign: true });
      expect(await given().total()).toBe(2);
      const before = await given().stats();
      expect(before["archive.uncounted.dmarc"]).toBe(1);
      await given().parsing.reparse([1, 2]);
      expect(await given().stats()).toEqual(before);
    });

    it("replaces a report that anybody could have sent by an authenticated one", async () => {
      given().setPolicy({ ...POLICY, verifies: true });
      const verified = {
        ...mailWithXml(dmarcXml().replace("<count>2", "<count>5")),
        auth: {
          verdict: "pass" as const,
          domain: "reporter.example",
          dkimDomains: [],
          tls: "fail" as const,
          by: "own",
          detail: null,
        },
      };
      await given().intake([mailWithXml(dmarcXml())]);
      expect(await given().intake([verified])).toMatchObject([{ outcome: "imported" }]);
      expect(await given().total()).toBe(5);
      expect(await given().intake([mailWithXml(dmarcXml())])).toMatchObject([
        { outcome: "duplicate-conflict" },
      ]);
      expect(await given().total()).toBe(5);
    });

    it("keeps the stored report when the authenticated one cannot be parsed to its end", async () => {
      given().setPolicy({ ...POLICY, verifies: true });
      await given().intake([mailWithXml(dmarcXml())]);
      const damaged = dmarcXml().replace("</feedback>", `${"<a>".repeat(40)}</feedback>`);
      const auth = {
        ...mailWithXml("").auth,
        verdict: "pass" as const,
        domain: "reporter.example",
        by: "own",
      };
      expect(await given().intake([{ ...mailWithXml(damaged), auth }])).toMatchObject([
        { outcome: "invalid", reason: "too-deep" },
      ]);
      expect([await given().total(), await given().records()]).toEqual([2, 1]);
      // and with more records than one block holds, which are written before the end
      const [record] = /<record>.*<\/record>/.exec(dmarcXml())!;
      const long = damaged.replace(record, record.repeat(600));
      expect(await given().intake([{ ...mailWithXml(long), auth }])).toMatchObject([{ reason: "too-deep" }]);
      expect([await given().total(), await given().records()]).toEqual([2, 1]);
    });

    it("keeps the part of the mail that a report was in, and the authentication of its records", async () => {
      await given().intake([mailWithXml(dmarcXml())]);
      const { part } = (await given().questions.report("r1"))!;
      expect(part).toEqual({ name: "r0.xml", mediaType: "text/xml", size: expect.any(Number) });
      expect(part.size).toBe(dmarcXml().length);
      expect((await given().questions.list("records", {}, { limit: 1 })).items).toMatchObject([
        { auth: "none", counted: true },
      ]);
    });

    it("gives the records of a large report back in their order, page by page", async () => {
      const [record] = /<record>.*<\/record>/.exec(dmarcXml())!;
      const many = Array.from({ length: 1500 }, (_, n) =>
        record.replace("192.0.2.1", `198.51.${n >> 8}.${n & 255}`).replace("<count>2", `<count>${n * n * n}`),
      );
      await given().intake([mailWithXml(dmarcXml().replace(record, many.join("")))]);
      const found: [string, number][] = [];
      let after: string | undefined;
      do {
        const page = await given().questions.list(
          "records",
          { report: "r1" },
          { limit: 400, ...(after ? { after } : {}) },
        );
        found.push(...page.items.map((r): [string, number] => [r.source_ip, r.count]));
        after = page.next ?? undefined;
      } while (after);
      expect(found).toEqual(many.map((_, n) => [`198.51.${n >> 8}.${n & 255}`, n * n * n]));
    });

    it("answers in the order of the batch, whatever became of each mail", async () => {
      const answers = await given().put.put([
        { intake: mailWithXml(dmarcXml("a")), content: null },
        { intake: mailWithXml(dmarcXml("b")), content: { reason: "internal", detail: "a bug" } },
        { mailId: 99, content: { reason: "internal", detail: "a bug" } },
        { intake: mailWithXml(dmarcXml("c")), content: null },
      ]);
      expect(answers).toMatchObject([
        { spooled: true, mailId: 1 },
        { spooled: false, result: { mailId: 2, outcome: "invalid" } },
        { error: { code: "archive.no_such_mail", detail: "m99" } },
        { spooled: true, mailId: 3 },
      ]);
    });

    it("stores one of equal reports that come at the same time", async () => {
      const results = await Promise.all(
        Array.from({ length: 8 }, () => given().intake([mailWithXml(dmarcXml("same"))])),
      );
      const outcomes = results.flat().map(({ outcome }) => outcome);
      expect(outcomes.sort()).toEqual([...Array(7).fill("duplicate"), "imported"]);
      expect([await given().total(), await given().records()]).toEqual([2, 1]);
    });

    it("gives the same answers after it was opened again, and a late copy is still a duplicate", async () => {
      await given().intake([mailWithXml(dmarcXml("a"), dmarcXml("b")), mailWithXml("")]);
      const told = async () => [
        await given().questions.list("received", {}, { limit: 10 }),
        await given().questions.list("reports", {}, { limit: 10 }),
        await given().questions.list("records", {}, { limit: 10 }),
        await given().stats(),
      ];
      const before = await told();
      await given().reopen();
      expect(await told()).toEqual(before);
      expect(await given().intake([mailWithXml(dmarcXml("b"))])).toMatchObject([{ outcome: "duplicate" }]);
      expect(await given().intake([mailWithXml(dmarcXml("c"))])).toMatchObject([
        { mailId: 4, reportIds: [3] },
      ]);
    });
  });
}
