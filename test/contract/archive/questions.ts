/** The answers to lists and figures. */
import { beforeEach, describe, expect, it } from "vitest";
import type { Intake } from "../../../src/store/archive/intake.ts";
import type { ArchiveFilter } from "../../../src/store/archive/reader.ts";
import { intakeOf } from "../../support/intake.ts";
import { stage } from "../../support/parsing-archive.ts";
import { dmarcXml, mail, NOW } from "../../support/reading.ts";
import { type ContractBox, DAY } from "./box.ts";

/** 15 November 2023, midnight UTC: the begin of `dmarcXml`. */
const BEGIN = 1_700_006_400;

interface Dmarc {
  readonly id: string;
  readonly domain?: string;
  readonly org?: string;
  /** Days after BEGIN. */
  readonly day?: number;
  readonly days?: number;
  readonly receivedAt?: number;
  /** Applied to the XML, so that it has parse warnings. */
  readonly damage?: (xml: string) => string;
}

function dmarc({
  id,
  domain,
  org,
  day = 0,
  days = 1,
  receivedAt = NOW,
  damage = (xml) => xml,
}: Dmarc): Intake {
  const begin = BEGIN + day * DAY;
  const body = dmarcXml(id, domain)
    .replace("<org_name>Reporter<", `<org_name>${org ?? "Reporter"}<`)
    .replace(/<begin>\d+/, `<begin>${begin}`)
    .replace(/<end>\d+/, `<end>${begin + days * DAY - 1}`);
  const raw = mail([{ type: "text/xml", name: `${id}.xml`, body: damage(body) }]);
  return intakeOf(raw, { hints: { form: "mail", fileName: null, receivedAt } });
}

const tls = (id: string, policies: readonly object[]): Intake =>
  intakeOf(
    mail([
      {
        type: "application/tlsrpt+json",
        name: `${id}.json`,
        body: JSON.stringify({
          "organization-name": "Reporter",
          "date-range": { "start-datetime": "2023-11-15T00:00:00Z", "end-datetime": "2023-11-15T23:59:59Z" },
          "contact-info": "t@reporter.example",
          "report-id": id,
          policies,
        }),
      },
    ]),
  );

const policy = (domain: string, ok: number, failed: Record<string, number> = {}) => ({
  policy: {
    "policy-type": "sts",
    "policy-string": ["version: STSv1"],
    "policy-domain": domain,
    "mx-host": ["mx.example.com"],
  },
  summary: {
    "total-successful-session-count": ok,
    "total-failure-session-count": Object.values(failed).reduce((a, b) => a + b, 0),
  },
  "failure-details": Object.entries(failed).flatMap(([type, n]) =>
    // in two rows, to see them summed up
    [1, n - 1].map((sessions, i) => ({
      "result-type": type,
      "sending-mta-ip": `192.0.2.${i + 1}`,
      "receiving-mx-hostname": "mx.example.com",
      "failed-session-count": sessions,
    })),
  ),
});

const feedback = (type: string): Intake =>
  intakeOf(
    mail(
      [
        { type: "text/plain", body: "A report." },
        {
          type: "message/feedback-report",
          body: [
            `Feedback-Type: ${type}`,
            "User-Agent: Reporter/1.0",
            "Version: 1",
            "Original-Mail-From: <bounce@sender.example>",
            "IntakeRequest-Date: Thu, 16 Nov 2023 09:59:00 +0000",
            "Source-IP: 192.0.2.33",
            "Reported-Domain: example.com",
            ...(type === "auth-failure" ? ["Auth-Failure: dmarc", "Delivery-Result: reject"] : []),
          ].join("\r\n"),
        },
        {
          type: "message/rfc822",
          body: "From: Sender <sender@example.com>\r\nTo: x@y.example\r\nX-Token: hush\r\nSubject: Hi\r\nMessage-ID: <1@example.com>\r\n\r\nsecret body",
        },
      ],
      { type: "multipart/report; report-type=feedback-report" },
    ),
  );

const bounce = (...recipients: readonly string[]): Intake =>
  intakeOf(
    mail(
      [
        { type: "text/plain", body: "Sorry." },
        {
          type: "message/delivery-status",
          body: [
            "Reporting-MTA: dns; mx.example.net\r\nArrival-Date: Thu, 16 Nov 2023 09:59:00 +0000",
            ...recipients.map(
              (address) =>
                `Final-Recipient: rfc822; ${address}\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.com\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user`,
            ),
          ].join("\r\n\r\n"),
        },
        { type: "message/rfc822", body: "Message-ID: <ours@reporter.example>\r\n\r\nbody" },
      ],
      { type: "multipart/report; report-type=delivery-status" },
    ),
  );

export function questionsContract(given: () => ContractBox): void {
  describe("questions", () => {
    const store = async (...intakes: readonly Intake[]) => {
      for (const accepted of await given().answers(intakes))
        expect(accepted).toMatchObject({ result: { outcome: expect.stringMatching(/^imported/) } });
    };

    describe("who reports, and how well", () => {
      const upper = (xml: string) => xml.replace(/<(\/?)feedback>/g, "<$1FEEDBACK>");
      const oddDkim = (xml: string) => xml.replace("<dkim>pass</dkim>", "<dkim>perhaps</dkim>");

      it("counts parse warnings by occurrence and by report, for each organisation", async () => {
        await store(
          dmarc({ id: "a1", org: "Alpha", damage: upper }),
          dmarc({ id: "a2", org: "Alpha", day: 1, damage: (xml) => upper(oddDkim(xml)) }),
          dmarc({ id: "a3", org: "Alpha", day: 2 }),
          dmarc({ id: "b1", org: "Beta", day: 1 }),
        );
        const [alpha, beta] = await given().rows("reporters");
        expect(alpha).toMatchObject({
          org_name: "Alpha",
          reports: 3,
          repaired: 2,
          messages: 6,
          last_at: NOW,
        });
        expect(alpha!.warnings.map((w) => [w.code, w.reports, w.count])).toEqual([
          ["tag-case", 2, 2],
          ["evaluation-unknown", 1, 1],
        ]);
        expect(beta).toMatchObject({ org_name: "Beta", reports: 1, repaired: 0, warnings: [] });
      });

      it("counts only the parse warnings of the reports that are asked for", async () => {
        await store(
          dmarc({ id: "a1", org: "Alpha", damage: upper }),
          dmarc({ id: "a2", org: "Alpha", day: 10, domain: "example.net", damage: oddDkim }),
        );
        const codes = async (filter: ArchiveFilter) =>
          (await given().rows("reporters", filter)).map((r) => [
            r.reports,
            r.repaired,
            r.warnings.map((w) => w.code),
          ]);
        expect(await codes({ until: BEGIN + 5 * DAY })).toEqual([[1, 1, ["tag-case"]]]);
        expect(await codes({ since: BEGIN + 5 * DAY })).toEqual([[1, 1, ["evaluation-unknown"]]]);
        expect(await codes({ domain: "example.net" })).toEqual([[1, 1, ["evaluation-unknown"]]]);
        expect(await codes({ warning: "tag-case" })).toEqual([[1, 1, ["tag-case"]]]);
        expect(await codes({ since: BEGIN + 20 * DAY })).toEqual([]);
        expect(await codes({ org: "nobody" })).toEqual([]);
      });
    });

    describe("figures of domains", () => {
      beforeEach(() =>
        store(
          dmarc({ id: "a1", org: "Alpha", receivedAt: NOW - 100 }),
          dmarc({ id: "a2", org: "Alpha", day: 10, receivedAt: NOW - 50 }),
          dmarc({ id: "b1", org: "Beta", day: 10, receivedAt: NOW }),
          dmarc({ id: "b2", org: "Beta", day: 10, domain: "example.net" }),
          tls("t1", [policy("example.com", 3), policy("example.org", 1, { "certificate-expired": 2 })]),
        ),
      );
      const told = async (filter: ArchiveFilter) =>
        Object.fromEntries(
          (await given().rows("domains", filter)).map((d) => [
            d.domain,
            [d.messages, d.reports, d.reporters, d.last_report_at, d.tls_sessions, d.tls_failures],
          ]),
        );

      it("of all time", async () => {
        expect(await told({})).toEqual({
          "example.com": [6, 4, 3, NOW, 3, 0],
          "example.net": [2, 1, 1, NOW, 0, 0],
          "example.org": [0, 1, 1, NOW, 3, 2],
        });
      });

      it("tell who reported within the window", async () => {
        expect(await told({ since: BEGIN, until: BEGIN + 5 * DAY })).toEqual({
          "example.com": [2, 2, 2, NOW, 3, 0], // Alpha's, and the TLS report
          "example.org": [0, 1, 1, NOW, 3, 2],
        });
        expect(await told({ since: BEGIN + 5 * DAY, domain: "example.com" })).toEqual({
          "example.com": [4, 2, 2, NOW, 0, 0],
        });
      });

      it("of one organisation's reports", async () => {
        expect(await told({ org: "alpha" })).toEqual({ "example.com": [4, 2, 1, NOW - 50, 0, 0] });
        expect(await told({ org: "alpha", until: BEGIN + 5 * DAY })).toEqual({
          "example.com": [2, 1, 1, NOW - 50, 0, 0], // the last one came later, and is not in the window
        });
        expect(await told({ org: "reporter" })).toEqual({
          "example.com": [0, 1, 1, NOW, 3, 0],
          "example.org": [0, 1, 1, NOW, 3, 2],
        });
      });
    });

    it("windows that are half-open, on overlap of a report's range", async () => {
      await store(dmarc({ id: "one" }), dmarc({ id: "long", day: 3, days: 4 }));
      const ids = async (filter: ArchiveFilter) =>
        (await given().questions.list("reports", filter, { limit: 10 })).items
          .map((r) => r.report_id)
          .reverse();
      const end = BEGIN + DAY - 1; // the last second that is in it
      expect(await ids({ until: BEGIN })).toEqual([]);
      expect(await ids({ until: BEGIN + 1 })).toEqual(["one"]);
      expect(await ids({ since: end, until: end + 1 })).toEqual(["one"]);
      expect(await ids({ since: end + 1, until: BEGIN + 3 * DAY })).toEqual([]);
      // within the long one, and around it
      expect(await ids({ since: BEGIN + 5 * DAY, until: BEGIN + 5 * DAY + 1 })).toEqual(["long"]);
      expect(await ids({ since: BEGIN, until: BEGIN + 30 * DAY })).toEqual(["one", "long"]);
      for (const filter of [
        { until: BEGIN },
        { since: end, until: end + 1 },
        { since: BEGIN + 5 * DAY, until: BEGIN + 5 * DAY + 1 },
      ]) {
        const records = (await given().questions.list("records", filter, { limit: 10 })).items.map(
          (r) => r.report,
        );
        const reports = (await given().questions.list("reports", filter, { limit: 10 })).items.map(
          (r) => r.id,
        );
        expect(records).toEqual(reports);
        const reported = (await given().rows("reporters", filter)).reduce((n, r) => n + r.reports, 0);
        expect(reported).toBe(reports.length);
      }
    });

    it("an organisation that nobody knows ended records and sums with an error: they are empty", async () => {
      await store(dmarc({ id: "one" }));
      for (const name of ["records", "sources", "domains", "days", "reporters", "reports"] as const)
        for (const window of [{}, { since: BEGIN, until: BEGIN + DAY }]) {
          const filter: ArchiveFilter = { ...window, org: "nobody" };
          const page = await given().questions.list(name, filter, { limit: 5 });
          expect(page, name).toEqual({ items: [], next: null });
        }
    });

    it("days over which a long report is spread, by largest remainder", async () => {
      await store(
        dmarc({ id: "long", days: 3, damage: (xml) => xml.replace(/<count>\d+/, "<count>10") }),
        dmarc({ id: "one", day: 1 }),
      );
      expect((await given().rows("days")).map((d) => [(d.day - BEGIN) / DAY, d.messages, d.pass])).toEqual([
        [0, 4, 4],
        [1, 5, 5],
        [2, 3, 3],
      ]);
      expect(
        (await given().rows("days", { since: BEGIN + DAY, until: BEGIN + 2 * DAY })).map((d) => d.messages),
      ).toEqual([5]);
    });

    it("sources with unknown results, which are neither passed nor failed", async () => {
      const evaluated = (dkim: string, spf: string) => (xml: string) =>
        xml.replace("<dkim>pass</dkim><spf>fail</spf>", `<dkim>${dkim}</dkim><spf>${spf}</spf>`);
      await store(
        dmarc({ id: "pass" }),
        dmarc({ id: "fail", damage: evaluated("fail", "fail") }),
        dmarc({ id: "unknown", damage: evaluated("fail", "perhaps") }),
      );
      const [source] = await given().rows("sources", {}, 10);
      expect(source).toMatchObject({ source: "192.0.2.1", messages: 6, pass: 2, fail: 2, unknown: 2 });
      for (const result of ["pass", "fail", "unknown"] as const) {
        const [only] = await given().rows("sources", { result }, 10);
        expect(only).toMatchObject({ messages: 2, [result]: 2 });
      }
      expect(await given().rows("days")).toMatchObject([{ messages: 6, pass: 2, fail: 2, unknown: 2 }]);
    });

    it("TLS reports policy by policy, with what failed", async () => {
      await store(
        tls("t1", [
          policy("example.com", 10, { "certificate-expired": 2, "starttls-not-supported": 5 }),
          policy("example.org", 4),
        ]),
        tls("t2", []),
        tls("t3", [policy("example.net", 1), policy("example.com", 2), policy("example.org", 3)]),
      );
      const rows = await given().rows("tls", {}, 100);
      expect(
        rows.map((row) => [
          row.report_id,
          row.tls_policy_domain,
          row.tls_successes,
          row.tls_failures,
          row.tls_result_types,
        ]),
      ).toEqual([
        ["t3", "example.net", 1, 0, []],
        ["t3", "example.com", 2, 0, []],
        ["t3", "example.org", 3, 0, []],
        ["t2", null, null, null, []], // a report without policies is one, too
        [
          "t1",
          "example.com",
          10,
          7,
          [
            { result_type: "starttls-not-supported", sessions: 5 },
            { result_type: "certificate-expired", sessions: 2 },
          ],
        ],
        ["t1", "example.org", 4, 0, []],
      ]);
      for (const limit of [1, 2, 3, 5]) expect(await given().rows("tls", {}, limit)).toEqual(rows);
      expect(await given().rows("tls", { domain: "example.net" }, 2)).toEqual(rows.slice(0, 3));
      expect(await given().rows("tls", { since: BEGIN + 2 * DAY }, 2)).toEqual([]);
    });

    it("failure and abuse reports apart, without what the message says", async () => {
      await store(feedback("auth-failure"), feedback("abuse"), dmarc({ id: "other" }));
      const failures = await given().rows("failures", {}, 10);
      expect(failures).toMatchObject([
        {
          kind: "failure",
          policy_domain: "example.com",
          auth_failure: "dmarc",
          delivery_result: "reject",
          source_ip: "192.0.2.33",
          sample_from: "Sender <sender@example.com>",
          sample_subject: "Hi",
          sample_message_id: "<1@example.com>",
        },
      ]);
      const abuse = await given().rows("failures", { kind: "arf" }, 10);
      expect(abuse.map((row) => row.feedback_type)).toEqual(["abuse"]);
      const told = JSON.stringify([
        failures,
        abuse,
        await given().questions.list("reports", {}, { limit: 10 }),
      ]);
      expect(told).not.toMatch(/secret body|X-Token|hush/);
    });

    it("notifications recipient by recipient", async () => {
      await store(bounce("a@example.com", "b@example.com"), bounce("c@example.com"), dmarc({ id: "other" }));
      const rows = await given().rows("dsn", {}, 10);
      expect(rows.map(({ id, recipient }) => [id, recipient])).toEqual([
        ["r2", "c@example.com"],
        ["r1", "a@example.com"],
        ["r1", "b@example.com"],
      ]);
      expect(rows[0]).toMatchObject({
        reporting_mta: "mx.example.net",
        original_message_id: "<ours@reporter.example>",
        action: "failed",
        status: "5.1.1",
        remote_mta: "mx.example.com",
      });
      for (const limit of [1, 2]) expect(await given().rows("dsn", {}, limit)).toEqual(rows);
    });

    it("mails that are not parsed yet, and those that are", async () => {
      await store(dmarc({ id: "now" }));
      await given().spool(dmarc({ id: "later" }));
      const ids = async (filter: ArchiveFilter) =>
        (await given().questions.list("received", filter, { limit: 10 })).items.map((m) => [m.id, m.outcome]);
      expect(await ids({ outcome: "spooled" })).toEqual([["m2", "spooled"]]);
      expect(await ids({ outcome: "imported" })).toEqual([["m1", "imported"]]);
      await given().parsing.parseSpooled(stage, 10);
      expect(await ids({ outcome: "spooled" })).toEqual([]);
    });
  });
}
