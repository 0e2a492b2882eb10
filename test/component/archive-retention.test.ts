/** What retention deletes and when. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RetentionPolicy } from "../../src/model/retention.ts";
import type { Intake } from "../../src/store/archive/intake.ts";
import { ArchiveBox, mailWithXml } from "../support/archive-box.ts";
import { intakeOf } from "../support/intake.ts";
import { dmarcXml, mail, NOW, tlsJson } from "../support/reading.ts";

const DAY = 86_400;
const KEEP: RetentionPolicy = {
  raw: 1000 * DAY,
  failedRaw: 1000 * DAY,
  records: 400 * DAY,
  feedback: 30 * DAY,
  mails: 1000 * DAY,
  sums: 1825 * DAY,
};

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

const at = (received: Intake, receivedAt: number): Intake => ({
  ...received,
  hints: { ...received.hints, receivedAt },
});
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
/** Three years before it was received. */
const oldXml = (id: string): string =>
  dmarcXml(id)
    .replace(/<begin>\d+/, `<begin>${NOW - 1100 * DAY}`)
    .replace(/<end>\d+/, `<end>${NOW - 1099 * DAY}`);

describe("retention", () => {
  let box: ArchiveBox;
  beforeEach(() => {
    box = new ArchiveBox();
  });
  afterEach(() => box.remove());

  it("the hourly job deleted the records of old reports that were just imported: what counts is when they came", async () => {
    await box.intake(mailWithXml(oldXml("old")), mailWithXml(dmarcXml("new")));
    await box.expire(NOW + 3600, KEEP);
    expect(await box.reader.expirable(NOW + 3600, KEEP)).toMatchObject({ reports_with_records: 0 });
    expect(await box.records()).toBe(2);
    expect(await box.reader.expirable(NOW + 401 * DAY, KEEP)).toMatchObject({ reports_with_records: 2 });
    await box.expire(NOW + 401 * DAY, KEEP);
    expect(await box.records()).toBe(0);
    expect(await box.messages()).toBe(4); // day sums stay
  });

  it("TLS and feedback reports expire by the time when they came, each kind by its own period", async () => {
    await box.intake(tlsMail(), at(feedbackMail(), NOW + 20 * DAY));
    await box.expire(NOW + 49 * DAY, KEEP);
    expect(await box.counters()).toMatchObject({ "archive.report.tls": 1, "archive.report.failure": 1 });
    await box.expire(NOW + 51 * DAY, KEEP);
    expect((await box.counters())["archive.report.failure"]).toBeUndefined();
    expect(await box.reader.tlsPolicies("r1")).toHaveLength(1);
    await box.expire(NOW + 401 * DAY, KEEP);
    expect(await box.reader.tlsPolicies("r1")).toHaveLength(0);
    expect(await box.counters()).toMatchObject({ "archive.report.tls": 1, "archive.tls.session": 3 });
  });

  it("the counter of records told of expired ones for ever: it tells how many are stored", async () => {
    await box.intake(mailWithXml(dmarcXml("a")), at(mailWithXml(dmarcXml("b")), NOW + 10 * DAY));
    await box.expire(NOW + 405 * DAY, KEEP);
    expect([await box.records(), (await box.counters())["archive.record"]]).toEqual([1, 1]);
    expect(await box.counters()).toMatchObject({ "archive.report.dmarc": 2, "archive.message": 4 });
  });

  it("records that are not counted are not subtracted when they expire", async () => {
    const { writer } = box;
    await box.intake(mailWithXml(dmarcXml("a")));
    writer.setPolicy({
      domains: ["example.com"],
      requireAuth: { dmarc: "flag", tls: "flag", failure: "flag", arf: "flag", dsn: "flag" },
      countUnverified: [],
      verifies: false,
    });
    await box.intake(at(mailWithXml(dmarcXml("b", "other.example")), NOW - 10 * DAY));
    await box.expire(NOW + 395 * DAY, KEEP);
    expect([await box.records(), (await box.counters())["archive.record"]]).toEqual([1, 1]);
  });
});
