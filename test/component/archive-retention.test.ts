/** What retention deletes and when, and what parsing a stored mail again changes. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RetentionPolicy } from "../../src/model/retention.ts";
import type { Intake } from "../../src/store/archive/intake.ts";
import { ArchiveBox, mailWithXml, read } from "../support/archive-box.ts";
import { intakeOf } from "../support/intake.ts";
import type { Stage } from "../support/parsing-archive.ts";
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

describe("parsing a stored mail again", () => {
  let box: ArchiveBox;
  beforeEach(() => {
    box = new ArchiveBox();
  });
  afterEach(() => box.remove());

  const ids = async () =>
    (await box.reader.reports({}, { limit: 100 })).items.map(({ id, mailId }) => [id, mailId]);

  it("gave every report a new number: one with the same key keeps its number", async () => {
    await box.intake(
      mailWithXml(dmarcXml("a"), dmarcXml("b")),
      tlsMail(),
      feedbackMail(),
      mailWithXml(dmarcXml("c")),
    );
    const before = await ids();
    expect(before).toHaveLength(5);
    const counters = await box.counters();
    await box.writer.reparse([1, 2, 3, 4], read);
    await box.writer.reparse([4, 2, 3, 1], read);
    expect(await ids()).toEqual(before);
    expect(await box.counters()).toEqual(counters);
    expect([await box.records(), await box.messages()]).toEqual([3, 6]);
    // the numbers of other reports are not given away
    expect(await box.intake(mailWithXml(dmarcXml("d")))).toMatchObject([{ reportIds: [6] }]);
  });

  it("a report that it finds besides gets a new number, one that it does not find any more is deleted", async () => {
    await box.intake(mailWithXml(dmarcXml("a"), dmarcXml("b")), mailWithXml(dmarcXml("c")));
    const renamed: Stage = (raw, hints) =>
      read(Buffer.from(Buffer.from(raw).toString("latin1").replace("<report_id>a<", "<report_id>x<")), hints);
    expect(await box.writer.reparse([1], renamed)).toMatchObject([{ reportIds: [4, 2] }]);
    expect((await ids()).map(([id]) => id)).toEqual(["r4", "r3", "r2"]);
    expect(await box.messages()).toBe(6);
  });

  it("counted a report twice, or brought its records back, when they had expired: sums stay, records stay deleted", async () => {
    await box.intake(mailWithXml(dmarcXml("a")), tlsMail());
    await box.expire(NOW + 401 * DAY, KEEP);
    const before = [
      await box.counters(),
      await box.reader.days({}),
      await box.reader.domains({}),
      await ids(),
    ];
    expect(await box.writer.reparse([1, 2], read)).toMatchObject([
      { outcome: "imported" },
      { outcome: "imported" },
    ]);
    expect([
      await box.counters(),
      await box.reader.days({}),
      await box.reader.domains({}),
      await ids(),
    ]).toEqual(before);
    expect([await box.records(), await box.reader.tlsPolicies("r2")]).toEqual([0, []]);
    // and once more, from what that left
    await box.writer.reparse([1], read);
    expect([await box.messages(), (await box.counters())["archive.record"]]).toEqual([2, undefined]);
  });

  it("destroyed what the mail gave before when a bug stopped the parser: it stays, and the result says so", async () => {
    await box.intake(mailWithXml(dmarcXml("a")));
    const before = [await box.counters(), await ids(), await box.reader.receivedMail("m1")];
    const results = await box.writer.reparse([1], () => {
      throw new Error("a bug");
    });
    expect(results).toMatchObject([{ outcome: "invalid", reason: "internal", detail: "a bug" }]);
    expect(results[0]!.stack).toContain("a bug");
    expect([await box.counters(), await ids(), await box.reader.receivedMail("m1")]).toEqual(before);
    expect(await box.records()).toBe(1);
  });

  it("of a mail that is still spooled is its first time: counted once, and no raw copy of a duplicate stays", async () => {
    await box.intake(mailWithXml(dmarcXml("a")));
    await box.spool(mailWithXml(dmarcXml("a")), mailWithXml(dmarcXml("b")));
    expect((await box.writer.reparse([2, 3], read)).map(({ outcome }) => outcome)).toEqual([
      "duplicate",
      "imported",
    ]);
    expect(await box.writer.writer.spool()).toEqual({ unparsed: 0, oldest: null, newest: null });
    expect((await box.reader.receivedMail("m2"))?.rawKept).toBe(false);
    expect(await box.writer.parseSpooled(read, 8)).toEqual([]);
    expect(await box.messages()).toBe(4);
  });
});
