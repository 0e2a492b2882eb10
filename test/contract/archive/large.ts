/** Mails with many records: stored in steps, visible as a whole, beside others. */
import { describe, expect, it } from "vitest";
import type { Accepted, Intake, NotStored } from "../../../src/store/archive/intake.ts";
import { intakeOf, POLICY } from "../../support/intake.ts";
import { type Stage, stage } from "../../support/parsing-archive.ts";
import { dmarcXml, mail } from "../../support/reading.ts";
import { type ContractBox, mailWithXml } from "./box.ts";

/** More rows than an implementation stores in one step. */
const MANY = 5000;
/** More are not parsed of one notification. */
const RECIPIENTS = 999;

/** A report of many records, each of `count` messages of a source of its own. */
function manyRecords(id: string, { records = MANY, count = 2 } = {}): string {
  const [record] = /<record>.*<\/record>/.exec(dmarcXml())!;
  const rows = Array.from({ length: records }, (_, n) =>
    record.replace("192.0.2.1", `10.1.${n >> 8}.${n & 255}`).replace("<count>2", `<count>${count}`),
  );
  return dmarcXml(id).replace(record, rows.join(""));
}

const largeMail = (id: string, count = 2): Intake => mailWithXml(manyRecords(id, { count }));

function manyDetails(id: string): Intake {
  const details = Array.from({ length: MANY }, (_, n) => ({
    "result-type": "certificate-expired",
    "sending-mta-ip": `10.2.${n >> 8}.${n & 255}`,
    "failed-session-count": 1,
  }));
  const body = JSON.stringify({
    "organization-name": "Reporter",
    "date-range": { "start-datetime": "2023-11-15T00:00:00Z", "end-datetime": "2023-11-15T23:59:59Z" },
    "contact-info": "t@reporter.example",
    "report-id": id,
    policies: [
      {
        policy: { "policy-type": "sts", "policy-string": [], "policy-domain": "example.com" },
        summary: { "total-successful-session-count": 1, "total-failure-session-count": MANY },
        "failure-details": details,
      },
    ],
  });
  return intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body }]));
}

function manyRecipients(): Intake {
  const recipients = Array.from(
    { length: RECIPIENTS },
    (_, n) => `Final-Recipient: rfc822; u${n}@example.com\r\nAction: failed\r\nStatus: 5.1.1`,
  );
  return intakeOf(
    mail(
      [
        { type: "text/plain", body: "Sorry." },
        {
          type: "message/delivery-status",
          body: ["Reporting-MTA: dns; mx.example.net", ...recipients].join("\r\n\r\n"),
        },
      ],
      { type: "multipart/report; report-type=delivery-status" },
    ),
  );
}

const keptOf = (answers: readonly (Accepted | NotStored)[]): unknown[] =>
  answers.map((one) => ("result" in one ? one.result.items.map((item) => item.ok && item.kept) : one));

/** Finds no report. */
const nothing: Stage = (raw, hints) => stage(raw.subarray(0, 20), hints);

export function largeMailContract(given: () => ContractBox): void {
  /** Records, messages of day sums and running counters agree on what is stored. */
  const expectStored = async (reports: number, count = 2): Promise<void> => {
    const stats = await given().stats();
    expect([
      await given().records(),
      await given().total(),
      stats["archive.record"] ?? 0,
      stats["archive.message"] ?? 0,
    ]).toEqual([reports * MANY, reports * MANY * count, reports * MANY, reports * MANY * count]);
  };

  describe("a large mail", () => {
    it("was stored in one transaction: it is stored in steps, with the same result", async () => {
      expect(await given().intake([largeMail("a")])).toMatchObject([
        { mailId: 1, outcome: "imported", reportIds: [1] },
      ]);
      await expectStored(1);
      const records = await given().rows("records", {}, 999);
      expect(records.map((r) => r.source_ip)).toEqual(
        Array.from({ length: MANY }, (_, n) => `10.1.${n >> 8}.${n & 255}`),
      );
      expect(await given().rows("sources", {}, MANY + 1)).toHaveLength(MANY);
      await given().reopen();
      await expectStored(1);
      expect(await given().intake([largeMail("a")])).toMatchObject([{ outcome: "duplicate", reportIds: [] }]);
    });

    it("was visible in part while it was stored: lists and figures show all of it or nothing", async () => {
      let done = false;
      const storing = given()
        .intake([largeMail("a")])
        .finally(() => {
          done = true;
        });
      while (!done) {
        await new Promise((resolve) => setImmediate(resolve));
        const { items } = await given().questions.list("records", { source: "10.1.0.7" }, { limit: 10 });
        const [sum] = await given().rows("days");
        const { items: reports } = await given().questions.list("reports", {}, { limit: 10 });
        expect([0, 1]).toContain(items.length);
        expect([undefined, 2 * MANY]).toContain(sum?.messages);
        for (const { records } of reports) expect(records).toBe(MANY);
        expect(
          (await given().questions.list("records", { report: "r1" }, { limit: MANY })).items.length % MANY,
        ).toBe(0);
      }
      await storing;
      await expectStored(1);
    });

    it("kept other mails waiting: those that come meanwhile are stored, with numbers of their own", async () => {
      const storing = Promise.all([given().intake([largeMail("a")]), given().intake([largeMail("b")])]);
      const small = await Promise.all(
        Array.from({ length: 10 }, (_, n) => given().intake([mailWithXml(dmarcXml(`small${n}`))])),
      );
      const large = await storing;
      const results = [...small, ...large].flat();
      expect(new Set(results.map(({ outcome }) => outcome))).toEqual(new Set(["imported"]));
      expect(new Set(results.flatMap(({ reportIds }) => reportIds)).size).toBe(12);
      expect(await given().records()).toBe(2 * MANY + 10);
      for (const [i, { reportIds }] of large.flat().entries()) {
        const report = await given().questions.report(`r${reportIds[0]}`);
        expect(report).toMatchObject({ report_id: "ab"[i], records: MANY });
        expect(await given().rows("records", { report: `r${reportIds[0]}` }, 5000)).toHaveLength(MANY);
      }
    });

    it("that comes twice at the same time is one new report and one duplicate", async () => {
      const answers = await Promise.all([
        given().answers([largeMail("a")]),
        given().answers([largeMail("a")]),
      ]);
      expect(answers.map(keptOf).flat(2).sort()).toEqual(["duplicate", "new"]);
      await expectStored(1);
      const both = await given().answers([largeMail("b"), largeMail("b")]);
      expect(keptOf(both)).toEqual([["new"], ["duplicate"]]);
      await expectStored(2);
    });

    it("and another one with its key at the same time are one new report and one conflict", async () => {
      const answers = await Promise.all([
        given().answers([largeMail("a")]),
        given().answers([mailWithXml(dmarcXml("a"))]),
      ]);
      expect(answers.map(keptOf).flat(2).sort()).toEqual(["conflict", "new"]);
      expect(await given().questions.list("reports", {}, { limit: 9 })).toMatchObject({
        items: [{ report_id: "a" }],
      });
    });

    it("in a batch with small ones: each has its answer", async () => {
      const [first, ...others] = await given().answers([
        largeMail("a"),
        mailWithXml(dmarcXml("b")),
        largeMail("a"),
        mailWithXml(""),
      ]);
      expect(first).toMatchObject({ result: { outcome: "imported" } });
      expect(others).toMatchObject([
        { result: { outcome: "imported" } },
        { result: { outcome: "duplicate" } },
        { result: { outcome: "invalid" } },
      ]);
      expect(await given().records()).toBe(MANY + 1);
    });

    it("replaces a large one that anybody could have sent, of which nothing stays", async () => {
      given().setPolicy({ ...POLICY, verifies: true });
      await given().intake([largeMail("a")]);
      const auth = {
        ...largeMail("a").auth,
        verdict: "pass" as const,
        domain: "reporter.example",
        by: "own",
      };
      const better = { ...largeMail("a", 3), auth };
      expect(await given().intake([better])).toMatchObject([{ outcome: "imported", reportIds: [2] }]);
      await expectStored(1, 3);
      expect(await given().questions.report("r1")).toBeUndefined();
      expect((await given().questions.list("records", { report: "r1" }, { limit: 9 })).items).toEqual([]);
    });

    it("that is refused for its kind leaves nothing but the mail", async () => {
      expect(await given().intake([{ ...largeMail("a"), kinds: ["tls"] }])).toMatchObject([
        { outcome: "invalid", reason: "wrong-kind" },
      ]);
      await expectStored(0);
    });

    it("that was spooled, and is parsed again, keeps its number and its figures", async () => {
      await given().spool(largeMail("a"));
      expect(await given().parsing.parseSpooled(stage, 8)).toMatchObject([{ reportIds: [1] }]);
      const before = [await given().stats(), await given().ids()];
      expect(await given().parsing.reparse([1], stage)).toMatchObject([
        { outcome: "imported", reportIds: [1] },
      ]);
      expect([await given().stats(), await given().ids()]).toEqual(before);
      await expectStored(1);
      const shorter: Stage = (_, hints) => stage(mailWithXml(manyRecords("a", { records: 9 })).raw, hints);
      expect(await given().parsing.reparse([1], shorter)).toMatchObject([{ reportIds: [1] }]);
      expect(await given().records()).toBe(9);
      await given().parsing.reparse([1], stage);
      await expectStored(1);
      expect(await given().parsing.reparse([1], nothing)).toMatchObject([{ outcome: "not-a-report" }]);
      await expectStored(0);
      expect(await given().intake([largeMail("a")])).toMatchObject([{ outcome: "imported" }]);
      expect(await given().ids()).not.toContainEqual(["r1", "m2"]); // a number is not given again
    });

    it("that is parsed again twice at the same time is stored once", async () => {
      await given().intake([largeMail("a")]);
      await Promise.all([given().parsing.reparse([1], stage), given().parsing.reparse([1], stage)]);
      await expectStored(1);
      expect(await given().ids()).toEqual([["r1", "m1"]]);
    });

    it("of another kind: TLS failure details and recipients of a DSN", async () => {
      const [tls, dsn] = await given().intake([manyDetails("t"), manyRecipients()]);
      expect([tls, dsn]).toMatchObject([
        { outcome: "imported" },
        { outcome: expect.stringMatching(/^imported/) },
      ]);
      const told = async () => [
        (await given().questions.tlsPolicies(`r${tls!.reportIds[0]}`)).map(({ details }) => details.length),
        (await given().rows("dsn", {}, 2000)).length,
        (await given().rows("domains")).map(({ tls_failures }) => tls_failures),
      ];
      const before = await told();
      expect(before).toEqual([[MANY], RECIPIENTS, [MANY]]);
      await given().parsing.reparse([tls!.mailId, dsn!.mailId], stage);
      expect(await told()).toEqual(before);
    });
  });
}
