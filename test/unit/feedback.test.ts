/** Failure reports (RFC 9991, RFC 6591), abuse reports (RFC 5965), and the prose of some programs (rules 9, 32 to 34). */
import { describe, expect, it } from "vitest";
import type { FeedbackReport } from "../../src/model/report.ts";
import { dmarcXml, LIMITS, mail, part, read, single } from "../support/reading.ts";

const FIELDS = [
  "Feedback-Type: auth-failure",
  "User-Agent: Reporter/1.0",
  "Version: 1",
  "Original-Mail-From: <bounce@sender.example>",
  "Arrival-Date: Thu, 16 Nov 2023 09:59:00 +0000",
  "Source-IP: 192.0.2.33",
  "Reported-Domain: Example.COM.",
  "Auth-Failure: dmarc",
  "Identity-Alignment: dkim, spf",
  "Delivery-Result: reject",
].join("\r\n");
const SAMPLE =
  "From: Sender <sender@example.com>\r\nTo: x@y.example\r\nSubject: Hi\r\nMessage-ID: <1@example.com>\r\n\r\nsecret body";

const feedback = (fields: string, encoding?: string) => ({
  type: "message/feedback-report",
  ...(encoding ? { encoding } : {}),
  body: fields,
});
const sample = (body: string | Uint8Array = SAMPLE, type = "message/rfc822") => ({ type, body });
const report = (
  fields: string = FIELDS,
  copy: Parameters<typeof mail>[0][number] | null = sample(),
  type = "multipart/report; report-type=feedback-report",
) => mail([{ type: "text/plain", body: "A report." }, feedback(fields), ...(copy ? [copy] : [])], { type });

/** The one report of a mail. */
function one(raw: Uint8Array | string, limits = {}): FeedbackReport {
  const found = read(raw, {}, limits);
  expect(found.whole).toHaveLength(1);
  return found.whole[0] as FeedbackReport;
}

/** Without a field. */
const less = (name: string): string =>
  FIELDS.split("\r\n")
    .filter((line) => !line.startsWith(`${name}:`))
    .join("\r\n");

describe("a failure report", () => {
  it("gives all its fields", () => {
    expect(one(report())).toMatchObject({
      kind: "failure",
      feedbackType: "auth-failure",
      feedbackTypeRaw: null,
      userAgent: "Reporter/1.0",
      version: "1",
      arrivalDate: 1_700_128_740,
      sourceIp: "192.0.2.33",
      incidents: 1,
      reportedDomains: ["example.com"],
      originalMailFrom: "<bounce@sender.example>",
      authFailure: "dmarc",
      identityAlignment: ["dkim", "spf"],
      deliveryResult: "reject",
    });
  });
  it("keeps of its sample the header and no body, unless told otherwise", () => {
    expect(one(report()).sample).toMatchObject({
      from: "Sender <sender@example.com>",
      subject: "Hi",
      messageId: "<1@example.com>",
      body: null,
    });
    expect(one(report(), { sample_body: 6 }).sample!.body).toBe("secret");
    expect(one(report(), { sample_headers: 10 }).sample!.headers).toBe("From: Send");
  });
  it("has its figures", () => {
    const item = read(report()).reading.items[0]!;
    expect(item.ok && item.figures).toMatchObject({
      kind: "failure",
      orgName: "Reporter/1.0",
      policyDomain: "example.com",
      begin: 1_700_128_740,
      end: 1_700_128_740,
      records: 1,
      messages: 1,
      passMessages: null,
    });
  });
});

describe("odd forms of feedback reports are read", () => {
  const good = (
    what: string,
    raw: Uint8Array | string,
    warnings: readonly string[],
    wanted: Partial<FeedbackReport> = {},
  ) =>
    it(what, () => {
      expect(one(raw)).toMatchObject(wanted);
      expect(read(raw).warnings).toEqual(warnings);
    });
  good("in multipart/report without a report-type", report(FIELDS, sample(), "multipart/report"), []);
  good("in multipart/mixed", report(FIELDS, sample(), "multipart/mixed"), []);
  good("coded in base64", mail([feedback(FIELDS, "base64"), sample()]), ["feedback-encoded"]);
  good(
    "labelled text/plain",
    mail([{ type: "text/plain", body: FIELDS }, sample()], { type: "multipart/report" }),
    [],
  );
  good("with field names in lower case", report(FIELDS.toLowerCase()), [], { feedbackType: "auth-failure" });
  good("with folded values", report(FIELDS.replace("dkim, spf", "dkim,\r\n\t spf")), [], {
    identityAlignment: ["dkim", "spf"],
  });
  good("with unknown fields, which are kept", report(`${FIELDS}\r\nX-Foo: bar`), []);
  good("without a sample", report(FIELDS, null), ["sample-missing"], { sample: null });
  for (const type of [
    "text/rfc822-headers",
    "text/rfc822-header",
    "message/rfc822-headers",
    "message/global",
    "message/global-headers",
  ])
    good(`with a sample of type ${type}`, report(FIELDS, sample(SAMPLE, type)), []);
  good("without Feedback-Type, with Auth-Failure", report(less("Feedback-Type")), ["feedback-type-missing"], {
    kind: "failure",
    feedbackType: "auth-failure",
  });
  good(
    "without both",
    report(less("Feedback-Type").replace(/Auth-Failure.*\r\n/, "")),
    ["feedback-type-missing"],
    { kind: "arf", feedbackType: "other" },
  );
  good("with an unknown type", report(FIELDS.replace("auth-failure", "x-new")), ["feedback-type-unknown"], {
    kind: "arf",
    feedbackType: "other",
    feedbackTypeRaw: "x-new",
  });
  good(
    "with an unknown Delivery-Result",
    report(FIELDS.replace("reject", "smg-policy-action")),
    ["field-unknown-value"],
    { deliveryResult: "other", deliveryResultRaw: "smg-policy-action" },
  );
  good("without Version", report(less("Version")), ["field-missing"], { version: null });
  good("with Received-Date", report(FIELDS.replace("Arrival-Date", "Received-Date")), [], {
    arrivalDate: 1_700_128_740,
  });
  good(
    "with both dates",
    report(`${FIELDS}\r\nReceived-Date: Thu, 16 Nov 2023 09:58:00 +0000`),
    ["dates-conflict"],
    { arrivalDate: 1_700_128_740 },
  );
  good("without a date: that of the mail", report(less("Arrival-Date")), [], { arrivalDate: 1_700_096_400 });
  good("with an address and a name", report(FIELDS.replace("192.0.2.33", "192.0.2.33 (mail.example)")), [], {
    sourceIp: "192.0.2.33",
  });
  good(
    "without Reported-Domain: that of the sample's From",
    report(less("Reported-Domain")),
    ["domain-from-sample"],
    { reportedDomains: ["example.com"] },
  );
  good(
    "with several domains in one field and in two",
    report(FIELDS.replace("Example.COM.", "a.example, b.example (both)\r\nReported-Domain: c.example")),
    [],
    { reportedDomains: ["a.example", "b.example", "c.example"] },
  );
  good("with Incidents", report(`${FIELDS}\r\nIncidents: 7`), [], { incidents: 7 });
  good("with a sample that a cut has left without its boundary", report().subarray(0, -8), []);
  good("of abuse", report(FIELDS.replace("auth-failure", "abuse")), [], {
    kind: "arf",
    feedbackType: "abuse",
  });
  it("with incidents, which are its messages", () => {
    const item = read(report(`${FIELDS}\r\nIncidents: 7`)).reading.items[0]!;
    expect(item.ok && [item.figures.records, item.figures.messages]).toEqual([7, 7]);
  });
});

describe("a feedback report", () => {
  it("without a field is refused", () => {
    expect(read(report("\r\n")).reason).toBe("bad-feedback");
  });
  it("with more fields than allowed is refused", () => {
    expect(read(report("A: 1\r\n".repeat(LIMITS.header_fields + 1))).reason).toBe("too-large");
  });
  it("is the same whatever mail it came in", () => {
    const other = mail([feedback(FIELDS), sample()], {
      head: "From: other@x\r\nDate: Fri, 17 Nov 2023 01:00:00 +0000\r\n",
    });
    expect(read(report()).hashes).toEqual(read(other).hashes);
    expect(read(report(FIELDS.replace("192.0.2.33", "192.0.2.34"))).hashes).not.toEqual(read(other).hashes);
  });
  it("with a sample that holds a report gives the feedback only", () => {
    const inside = mail([{ type: "text/xml", body: dmarcXml() }], { boundary: "inner" });
    const found = read(report(FIELDS, sample(inside)));
    expect(found.heads).toEqual([]);
    expect(found.whole).toHaveLength(1);
  });
  it("that was forwarded is read", () => {
    const found = read(mail([{ type: "message/rfc822", body: report() }], { boundary: "outer" }));
    expect(found.whole).toHaveLength(1);
    expect(found.warnings).toEqual(["forwarded"]);
  });
  it("behind which a list has put its footer is read", () => {
    const inner = part({
      type: "multipart/report; boundary==_b",
      body: report().subarray(report().indexOf("--=_b")),
    });
    expect(
      read(mail([inner, { type: "text/plain", body: "footer" }], { boundary: "list" })).whole,
    ).toHaveLength(1);
  });
});

describe("reports in prose are read", () => {
  const EXIM = `A message claiming to be from you has failed the published DMARC
policy for your domain.

  Sender Domain: example.com
  Sender IP Address: 192.0.2.42
  Received date: Fri, 16 Aug 2019 15:06:53 +0200
  SPF Alignment: no
  DKIM Alignment: no
  DMARC Results: Reject

------ This is a copy of the headers that were received before the error
       was detected.

Received: from mx
From: Some One <one@example.com>
Subject: nothing
`;
  it("of Exim and cPanel", () => {
    expect(one(single({ type: "text/plain", body: EXIM }))).toMatchObject({
      kind: "failure",
      userAgent: "reporter.example",
      sourceIp: "192.0.2.42",
      arrivalDate: 1_565_960_813,
      reportedDomains: ["example.com"],
      identityAlignment: ["dkim", "spf"],
      sample: { from: "Some One <one@example.com>", subject: "nothing" },
    });
    expect(read(single({ type: "text/plain", body: EXIM })).warnings).toEqual(["no-feedback-part"]);
  });
  it("of Netease, when its machine-readable part was lost", () => {
    const text =
      "This is a spf/dkim authentication-failure report for an email message received from IP 192.0.2.24 on Fri, 28 Sep 2018 16:48:42 +0800.\r\nBelow is some detail.";
    expect(one(mail([{ type: "text/plain", body: text }, sample()]))).toMatchObject({
      kind: "failure",
      sourceIp: "192.0.2.24",
      arrivalDate: 1_538_124_522,
      reportedDomains: ["example.com"],
    });
  });
  it("of abuse, as RFC 5965 words it", () => {
    const text =
      "This is an email abuse report for an email message received\r\nfrom IP 192.0.2.1 on Thu, 8 Mar 2005 14:00:00 EDT.\r\n";
    expect(
      one(mail([{ type: "text/plain", body: text }, sample(SAMPLE, "text/rfc822-headers")])),
    ).toMatchObject({
      kind: "arf",
      feedbackType: "abuse",
      sourceIp: "192.0.2.1",
      arrivalDate: 1_110_304_800,
    });
  });
  it("of Hotmail", () => {
    const head =
      "From: staff@hotmail.com\r\nSubject: complaint about message from 192.0.2.9\r\nDate: Thu, 16 Nov 2023 01:00:00 +0000\r\n";
    expect(one(mail([sample()], { head }))).toMatchObject({
      kind: "arf",
      feedbackType: "abuse",
      sourceIp: "192.0.2.9",
      userAgent: "hotmail.com",
    });
  });
  it("but what they return is not looked into", () => {
    const inside = mail([{ type: "text/xml", body: dmarcXml() }], { boundary: "inner" });
    const head = "From: staff@hotmail.com\r\nSubject: complaint about message from 192.0.2.9\r\n";
    expect(read(mail([sample(inside)], { head })).heads).toEqual([]);
  });
});
