/** Delivery status notifications (RFC 3464, RFC 6533) and bounces in prose (rules 9, 35). */
import { describe, expect, it } from "vitest";
import type { DsnReport } from "../../src/model/report.ts";
import { dmarcXml, gz, mail, read, single } from "../support/reading.ts";

const MESSAGE =
  "Reporting-MTA: dns; mx.example.net\r\nOriginal-Envelope-Id: 0123456789abcdef\r\nArrival-Date: Thu, 16 Nov 2023 09:59:00 +0000";
const RECIPIENT =
  "Final-Recipient: rfc822; rua@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.com\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user";
const HEAD =
  "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\r\nDate: Thu, 16 Nov 2023 10:00:00 +0000\r\nSubject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\n";
const OURS = mail(
  [
    {
      type: "application/gzip",
      name: "a!b!1700006400!1700092799.xml.gz",
      encoding: "base64",
      body: gz(dmarcXml()),
    },
  ],
  {
    head: "Message-ID: <ours@reporter.example>\r\nFrom: noreply@reporter.example\r\n",
    boundary: "ours",
  },
);

const dsn = (
  status: string,
  type = "message/delivery-status",
  returned: Uint8Array | string = OURS,
  returnedType = "message/rfc822",
) =>
  mail(
    [
      { type: "text/plain", body: "Sorry." },
      { type, body: status },
      { type: returnedType, body: returned },
    ],
    {
      type: "multipart/report; report-type=delivery-status",
      head: HEAD,
      boundary: "dsn",
    },
  );

function one(raw: Uint8Array | string): DsnReport {
  const found = read(raw);
  expect(found.whole).toHaveLength(1);
  expect(found.heads).toEqual([]);
  return found.whole[0] as DsnReport;
}

describe("a notification", () => {
  it("gives all its fields, and our message's id", () => {
    expect(one(dsn(`${MESSAGE}\r\n\r\n${RECIPIENT}\r\n`))).toEqual({
      kind: "dsn",
      reportingMta: "mx.example.net",
      originalEnvelopeId: "0123456789abcdef",
      arrivalDate: 1_700_128_740,
      originalMessageId: "<ours@reporter.example>",
      structured: true,
      date: 1_700_128_740,
      recipients: [
        {
          originalRecipient: null,
          finalRecipient: "rua@example.com",
          action: "failed",
          status: "5.1.1",
          remoteMta: "mx.example.com",
          diagnostic: "550 5.1.1 no such user",
          lastAttempt: null,
          willRetryUntil: null,
        },
      ],
    });
  });
  it("never gives the report that it returns", () => {
    expect(read(dsn(`${MESSAGE}\r\n\r\n${RECIPIENT}`)).heads).toEqual([]);
  });
  for (const [status, returned] of [
    ["message/delivery-status", "message/rfc822"],
    ["message/delivery-status", "text/rfc822-headers"],
    ["message/global-delivery-status", "message/global"],
    ["message/global-delivery-status", "message/global-headers"],
    ["text/plain", "message/rfc822"],
  ] as const)
    it(`is read from ${status} and ${returned}`, () => {
      expect(one(dsn(`${MESSAGE}\r\n\r\n${RECIPIENT}`, status, OURS, returned)).originalMessageId).toBe(
        "<ours@reporter.example>",
      );
    });
  it("without a recipient is refused", () => {
    expect(read(dsn(MESSAGE)).reason).toBe("bad-dsn");
  });
  it("is the same whatever mail it came in", () => {
    const status = `${MESSAGE}\r\n\r\n${RECIPIENT}`;
    const other = Buffer.from(dsn(status).toString("latin1").replace("10:00:00", "11:00:00"), "latin1");
    expect(read(dsn(status)).hashes).toEqual(read(other).hashes);
  });
});

describe("a recipient", () => {
  const good = (fields: string, wanted: object, warnings: readonly string[] = []) =>
    it(fields.replaceAll("\r\n", " "), () => {
      const raw = dsn(`${MESSAGE}\r\n\r\n${fields}`);
      expect(one(raw).recipients[0]).toMatchObject(wanted);
      expect(read(raw).warnings).toEqual(warnings);
    });
  good("Final-Recipient: RFC822; <a@b.example>\r\nAction: FAILED\r\nStatus: 5.0.0 (permanent)", {
    finalRecipient: "a@b.example",
    action: "failed",
    status: "5.0.0",
  });
  good("Final-Recipient: a@b.example\r\nAction: delayed (1 hour)\r\nStatus: 4.4.1", {
    finalRecipient: "a@b.example",
    action: "delayed",
  });
  good("Original-Recipient: rfc822;o@b.example\r\nAction: relayed\r\nStatus: 2.1.9", {
    originalRecipient: "o@b.example",
    finalRecipient: "o@b.example",
    action: "relayed",
  });
  good(
    "Final-Recipient: rfc822;a@b.example\r\nAction: failed\r\nDiagnostic-Code: smtp; 550 5.7.1 no",
    { status: "5.7.1" },
    ["status-missing"],
  );
  good(
    "Final-Recipient: rfc822;a@b.example\r\nAction: failed\r\nDiagnostic-Code: smtp; 452 full",
    { status: "4.0.0" },
    ["status-missing"],
  );
  good("Final-Recipient: rfc822;a@b.example\r\nAction: gone\r\nStatus: 5.1.1", { action: "failed" }, [
    "dsn-repaired",
  ]);
  good("Final-Recipient: rfc822;a@b.example\r\nStatus: 4.2.2", { action: "delayed" }, ["dsn-repaired"]);
  good("Final-Recipient: rfc822;a@b.example\r\nAction: deliverable\r\nStatus: 2.1.5", {
    action: "delivered",
  });
  good("Final-Recipient: utf-8; \\x{5C0F}@b.example\r\nAction: failed\r\nStatus: 5.1.1", {
    finalRecipient: "小@b.example",
  });
  good(
    "Final-Recipient: rfc822;a@b.example\r\nAction: delayed\r\nStatus: 4.4.1\r\nWill-Retry-Until: Thu, 16 Nov 2023 10:00:00 +0000",
    { willRetryUntil: 1_700_128_800 },
  );
  it("may be one of several", () => {
    const second = RECIPIENT.replace("rua@", "ruf@").replace("failed", "delivered");
    expect(
      one(dsn(`${MESSAGE}\r\n\r\n${RECIPIENT}\r\n\r\n${second}`)).recipients.map(
        (r) => `${r.finalRecipient} ${r.action}`,
      ),
    ).toEqual(["rua@example.com failed", "ruf@example.com delivered"]);
  });
});

describe("a bounce in prose", () => {
  const bounce = (body: string, head = HEAD) => single({ type: "text/plain", body }, head);
  const good = (what: string, raw: Uint8Array, recipients: readonly string[]) =>
    it(what, () => {
      const found = one(raw);
      expect(found.structured).toBe(false);
      expect(found.recipients.map((r) => `${r.finalRecipient} ${r.action} ${r.status}`)).toEqual(recipients);
      expect(read(raw).warnings).toContain("bounce-unstructured");
    });
  good(
    "names its recipient",
    bounce("Your message could not be delivered.\r\n\r\n<rua@example.com>: 550 5.1.1 no such user\r\n"),
    ["rua@example.com failed 5.1.1"],
  );
  good(
    "gives each recipient its own status",
    bounce(
      "The following addresses failed:\r\n\r\na@x.example: 452 4.2.2 full\r\nb@x.example: 550 5.1.1 unknown\r\n",
    ),
    ["a@x.example delayed 4.2.2", "b@x.example failed 5.1.1"],
  );
  good(
    "has it in X-Failed-Recipients",
    bounce("It could not be delivered.\r\n550 no\r\n", `${HEAD}X-Failed-Recipients: rua@example.com\r\n`),
    ["rua@example.com failed 5.0.0"],
  );
  good(
    "passes over the copy of the message",
    bounce(
      "It could not be delivered to\r\n\r\nrua@example.com\r\n550 no\r\n\r\n--- Below this line is a copy of the message.\r\n\r\nFrom: x@other.example\r\n",
    ),
    ["rua@example.com failed 5.0.0"],
  );
  good(
    "has the fields behind a boundary that is damaged",
    bounce(`Sorry.\r\n\r\n${MESSAGE}\r\n\r\n${RECIPIENT}\r\n`),
    ["rua@example.com failed 5.1.1"],
  );
  it("finds the id of the message that it quotes", () => {
    expect(
      one(
        bounce(
          "It could not be delivered to rua@example.com\r\n\r\n----- copy -----\r\nMessage-ID: <ours@reporter.example>\r\n",
        ),
      ).originalMessageId,
    ).toBe("<ours@reporter.example>");
  });
  it("never gives the report that it returns as a part", () => {
    const found = read(
      mail(
        [
          { type: "text/plain", body: "It could not be delivered to rua@example.com" },
          { type: "message/rfc822", body: OURS },
        ],
        { head: HEAD },
      ),
    );
    expect(found.heads).toEqual([]);
    expect(found.whole).toHaveLength(1);
  });
  it("never gives the report that it quotes in its text", () => {
    expect(
      one(bounce(`It could not be delivered to rua@example.com\r\n\r\n--- copy\r\n\r\n${dmarcXml()}`))
        .structured,
    ).toBe(false);
  });
  it("is none when a mailer daemon sends a real report", () => {
    const found = read(
      mail([{ type: "application/gzip", name: "r.xml.gz", encoding: "base64", body: gz(dmarcXml()) }], {
        head: HEAD,
      }),
    );
    expect(found.ids).toEqual(["r1"]);
  });
  it("is none when somebody is on vacation", () => {
    const head =
      "From: a@b.example\r\nSubject: Out of office: message delivery\r\nAuto-Submitted: auto-replied\r\n";
    expect(read(bounce("I was not delivered to work. Mail does not exist here.", head)).reason).toBe(
      "auto-reply",
    );
  });
  it("is none when only its text sounds like one", () => {
    expect(
      read(bounce("The parcel could not be delivered.", "From: a@b.example\r\nSubject: parcel\r\n")).outcome,
    ).toBe("not-a-report");
  });
});
