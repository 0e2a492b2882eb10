/** Parsing a stored mail again. */
import { describe, expect, it } from "vitest";
import type { RetentionPolicy } from "../../../src/model/retention.ts";
import { intakeOf } from "../../support/intake.ts";
import { type Stage, stage } from "../../support/parsing-archive.ts";
import { dmarcXml, mail, NOW, tlsJson } from "../../support/reading.ts";
import { type ContractBox, DAY, mailWithXml } from "./box.ts";

const KEEP: RetentionPolicy = {
  raw: 1000 * DAY,
  failedRaw: 1000 * DAY,
  records: 400 * DAY,
  feedback: 30 * DAY,
  mails: 4000 * DAY,
  sums: 8000 * DAY,
};
/** Finds no report. */
const nothing: Stage = (raw, hints) => stage(raw.subarray(0, 20), hints);
const FEEDBACK = [
  "Feedback-Type: auth-failure",
  "User-Agent: test/1.0",
  "Version: 1",
  "Auth-Failure: dmarc",
  "Reported-Domain: example.com",
  "Source-IP: 192.0.2.1",
  "Arrival-Date: Thu, 16 Nov 2023 01:00:00 +0000",
  "",
].join("\r\n");

const tlsMail = () => intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body: tlsJson() }]));
const feedbackMail = () =>
  intakeOf(
    mail(
      [
        { type: "text/plain", body: "a failure" },
        { type: "message/feedback-report", body: FEEDBACK },
        { type: "message/rfc822", body: "From: a@example.com\r\nSubject: x\r\n\r\n" },
      ],
      { type: "multipart/report; report-type=feedback-report" },
    ),
  );

export function reparseContract(given: () => ContractBox): void {
  describe("parsing a stored mail again", () => {
    it("replaces what a stored mail gave before when it is parsed again", async () => {
      await given().intake([mailWithXml(dmarcXml())]);
      const before = await given().stats();
      expect(await given().parsing.reparse([1, 99])).toMatchObject([{ mailId: 1, outcome: "imported" }]);
      expect(await given().stats()).toEqual(before);
      expect(await given().total()).toBe(2);
      expect((await given().questions.list("records", {}, { limit: 10 })).items).toHaveLength(1);
      expect(await given().parsing.reparse([1], nothing)).toMatchObject([{ outcome: "not-a-report" }]);
      expect(await given().total()).toBe(0);
      expect((await given().stats())["archive.report.dmarc"]).toBeUndefined();
    });

    it("gave every report a new number: one with the same key keeps its number", async () => {
      await given().intake([
        mailWithXml(dmarcXml("a"), dmarcXml("b")),
        tlsMail(),
        feedbackMail(),
        mailWithXml(dmarcXml("c")),
      ]);
      const before = await given().ids();
      expect(before).toHaveLength(5);
      const counters = await given().stats();
      await given().parsing.reparse([1, 2, 3, 4], stage);
      await given().parsing.reparse([4, 2, 3, 1], stage);
      expect(await given().ids()).toEqual(before);
      expect(await given().stats()).toEqual(counters);
      expect([await given().records(), await given().total()]).toEqual([3, 6]);
      // the numbers of other reports are not given away
      expect(await given().intake([mailWithXml(dmarcXml("d"))])).toMatchObject([{ reportIds: [6] }]);
    });

    it("a report that it finds besides gets a new number, one that it does not find any more is deleted", async () => {
      await given().intake([mailWithXml(dmarcXml("a"), dmarcXml("b")), mailWithXml(dmarcXml("c"))]);
      const renamed: Stage = (raw, hints) =>
        stage(
          Buffer.from(Buffer.from(raw).toString("latin1").replace("<report_id>a<", "<report_id>x<")),
          hints,
        );
      expect(await given().parsing.reparse([1], renamed)).toMatchObject([{ reportIds: [4, 2] }]);
      expect((await given().ids()).map(([id]) => id)).toEqual(["r4", "r3", "r2"]);
      expect(await given().total()).toBe(6);
    });

    it("counted a report twice, or brought its records back, when they had expired: sums stay, records stay deleted", async () => {
      await given().intake([mailWithXml(dmarcXml("a")), tlsMail()]);
      await given().expire(NOW + 401 * DAY, KEEP);
      const before = [
        await given().stats(),
        await given().rows("days"),
        await given().rows("domains"),
        await given().ids(),
      ];
      expect(await given().parsing.reparse([1, 2], stage)).toMatchObject([
        { outcome: "imported" },
        { outcome: "imported" },
      ]);
      expect([
        await given().stats(),
        await given().rows("days"),
        await given().rows("domains"),
        await given().ids(),
      ]).toEqual(before);
      expect([await given().records(), await given().questions.tlsPolicies("r2")]).toEqual([0, []]);
      // and once more, from what that left
      await given().parsing.reparse([1], stage);
      expect([await given().total(), (await given().stats())["archive.record"]]).toEqual([2, undefined]);
    });

    it("destroyed what the mail gave before when a bug stopped the parser: it stays, and the result says so", async () => {
      await given().intake([mailWithXml(dmarcXml("a"))]);
      const before = [await given().stats(), await given().ids(), await given().questions.receivedMail("m1")];
      const results = await given().parsing.reparse([1], () => {
        throw new Error("a bug");
      });
      expect(results).toMatchObject([{ outcome: "invalid", reason: "internal", detail: "a bug" }]);
      expect(results[0]!.stack).toContain("a bug");
      expect([
        await given().stats(),
        await given().ids(),
        await given().questions.receivedMail("m1"),
      ]).toEqual(before);
      expect(await given().records()).toBe(1);
    });

    it("of a mail that is still spooled is its first time: counted once, and no raw copy of a duplicate stays", async () => {
      await given().intake([mailWithXml(dmarcXml("a"))]);
      await given().spool(mailWithXml(dmarcXml("a")), mailWithXml(dmarcXml("b")));
      expect((await given().parsing.reparse([2, 3], stage)).map(({ outcome }) => outcome)).toEqual([
        "duplicate",
        "imported",
      ]);
      expect(await given().put.spool()).toEqual({ unparsed: 0, oldest: null, newest: null });
      expect((await given().questions.receivedMail("m2"))?.raw_kept).toBe(false);
      expect(await given().parsing.parseSpooled(stage, 8)).toEqual([]);
      expect(await given().total()).toBe(4);
    });
  });
}
