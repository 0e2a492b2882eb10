import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RetentionPolicy } from "../../src/model/retention.ts";
import type { Intake, IntakeResult } from "../../src/store/archive/intake.ts";
import type { ArchiveReader } from "../../src/store/archive/reader.ts";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { intakeOf, POLICY } from "../support/intake.ts";
import { ParsingArchive, type Stage, stage } from "../support/parsing-archive.ts";
import { dmarcXml, mail, NOW, tlsJson } from "../support/reading.ts";

const DAY = 86_400;
const read: Stage = stage;

/** A mail with these XML reports. */
const carrying = (...xml: string[]): Intake =>
  intakeOf(mail(xml.map((body, i) => ({ type: "text/xml", name: `r${i}.xml`, body }))));
const lasting = (id: string, begin: number, end: number, count: number): string =>
  dmarcXml(id)
    .replace(/<begin>\d+/, `<begin>${begin}`)
    .replace(/<end>\d+/, `<end>${end}`)
    .replace(/<count>\d+/, `<count>${count}`);

describe("the archive", () => {
  let directory: string;
  let path: string;
  let writer: ParsingArchive;
  let reader: ArchiveReader;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "archive-"));
    path = join(directory, "archive.db");
    writer = ParsingArchive.open(path);
    reader = openArchiveReader(path);
  });
  afterEach(async () => {
    await reader.close();
    await writer.close();
    rmSync(directory, { recursive: true });
  });

  /** What became of mails that are read at once. */
  const intake = async (batch: readonly Intake[], reading: Stage): Promise<IntakeResult[]> => {
    const accepted = await writer.intake(
      batch.map((one) => ({ intake: one, parseNow: true })),
      reading,
    );
    return accepted.flatMap((one) => ("error" in one || one.spooled ? [] : [one.result]));
  };
  /** Stores mails that are read later; their ids. */
  const spool = async (...batch: readonly Intake[]): Promise<number[]> => {
    const accepted = await writer.intake(
      batch.map((one) => ({ intake: one, parseNow: false })),
      never,
    );
    return accepted.flatMap((one) => ("error" in one || !one.spooled ? [] : [one.mailId]));
  };
  /** Counters that are not 0. */
  const stats = async (): Promise<Record<string, number>> =>
    Object.fromEntries(Object.entries(await reader.stats()).filter(([, value]) => value !== 0));
  const total = async (): Promise<number> => (await reader.days({})).reduce((n, d) => n + d.messages, 0);

  it("keeps a mail, its report and its records", async () => {
    const sent = carrying(dmarcXml());
    const [result] = await intake([sent], read);
    expect(result).toMatchObject({ outcome: "imported", reason: null, reportIds: [1] });
    expect(await reader.receivedMail("m1")).toMatchObject({
      outcome: "imported",
      envelopeTo: ["dmarc@example.com"],
      subject: "report",
      reports: ["r1"],
      rawKept: true,
    });
    expect(Buffer.from((await reader.rawMail("m1"))!)).toEqual(Buffer.from(sent.raw));
    expect(await reader.report("r1")).toMatchObject({
      kind: "dmarc",
      orgName: "Reporter",
      reportId: "r1",
      policyDomain: "example.com",
      records: 1,
      messages: 2,
      passMessages: 2,
    });
    const { items } = await reader.records({ reportId: "r1" }, { limit: 10 });
    expect(items).toMatchObject([
      { sourceIp: "192.0.2.1", count: 2, dkim: "pass", spf: "fail", headerFrom: "example.com" },
    ]);
    expect(await reader.sources({}, 10)).toMatchObject([
      { source: "192.0.2.1", messages: 2, pass: 2, fail: 0 },
    ]);
    expect(await stats()).toMatchObject({
      "archive.mail": 1,
      "archive.outcome.imported": 1,
      "archive.report.dmarc": 1,
    });
  });

  it("keeps a TLS report with its policies", async () => {
    await intake(
      [intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body: tlsJson() }]))],
      read,
    );
    expect(await reader.report("r1")).toMatchObject({ kind: "tls", policyDomain: "example.com" });
    expect(await reader.tlsPolicies("r1")).toMatchObject([{ policyType: "sts", successes: 3, failures: 0 }]);
    expect(await reader.domains({})).toMatchObject([
      { domain: "example.com", tlsSessions: 3, tlsFailures: 0 },
    ]);
  });

  it("counts a report once, and tells another of the same id apart", async () => {
    const [first, again, other] = await intake(
      [
        carrying(dmarcXml()),
        carrying(dmarcXml().replace("<count>2</count>", "<count> 2 </count>")),
        carrying(dmarcXml().replace("<count>2", "<count>3")),
      ],
      read,
    );
    expect([first?.outcome, again?.outcome, other?.outcome]).toEqual([
      "imported",
      "duplicate",
      "duplicate-conflict",
    ]);
    expect(await reader.receivedMail("m2")).toMatchObject({ rawKept: false, reports: [] });
    expect(await reader.receivedMail("m3")).toMatchObject({ rawKept: true, reports: [] });
    expect(await total()).toBe(2);
    expect(await stats()).toMatchObject({
      "archive.mail": 3,
      "archive.report.dmarc": 1,
      "archive.outcome.duplicate": 1,
      "archive.outcome.duplicate-conflict": 1,
    });
  });

  it("tells reports without an id apart by all of their content, in whatever order it stands", async () => {
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
        await intake(
          xml.map((one) => carrying(one)),
          read,
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
    expect(await total()).toBe(2 * 2 * 1501);
    const { items } = await reader.reports({}, { limit: 10 });
    expect(new Set(items.map((r) => r.reportId)).size).toBe(4);
    for (const { reportId } of items) expect(reportId).toMatch(/^sha256:[0-9a-f]{64}$/);
  });

  it("keeps the sound part of a mail, and nothing of a broken one", async () => {
    const broken = dmarcXml("r2").replace("</record></feedback>", "</rec");
    const [partial, invalid, sound] = await intake(
      [carrying(dmarcXml(), broken), carrying(broken), carrying(dmarcXml("r3"))],
      read,
    );
    expect(partial).toMatchObject({ outcome: "partial", reportIds: [1] });
    expect(invalid).toMatchObject({ outcome: "invalid", reportIds: [] });
    expect(sound).toMatchObject({ outcome: "imported" });
    const { items } = await reader.reports({}, { limit: 10 });
    expect(items.map((r) => r.reportId).sort()).toEqual(["r1", "r3"]);
    expect((await reader.records({}, { limit: 10 })).items).toHaveLength(2);
    expect(await total()).toBe(4);
  });

  it("loses one mail to a bug in its reading, not its neighbours", async () => {
    const results = await intake(
      [carrying(dmarcXml("a")), carrying(dmarcXml("b")), carrying(dmarcXml("c"))],
      (raw, hints) => {
        const reading = read(raw, hints);
        if (reading.items.some((item) => item.ok && item.figures.reportId === "b")) throw new Error("bug");
        return reading;
      },
    );
    expect(results.map((r) => r.reason)).toEqual([null, "internal", null]);
    expect(await reader.receivedMail("m2")).toMatchObject({ outcome: "invalid", rawKept: true });
    expect(await total()).toBe(4);
    expect(await stats()).toMatchObject({ "archive.report.dmarc": 2, "archive.outcome.imported": 2 });
  });

  it("spreads a long report over its days, none of its messages lost", async () => {
    const begin = Math.floor(1_700_006_400 / DAY) * DAY;
    await intake([carrying(lasting("long", begin, begin + 3 * DAY - 1, 10))], read);
    const days = await reader.days({});
    expect(days.map((d) => d.day)).toEqual([begin, begin + DAY, begin + 2 * DAY]);
    expect(days.map((d) => d.messages).sort()).toEqual([3, 3, 4]);
    expect(await reader.days({ org: "reporter" })).toEqual(days);
    await writer.reparse([1], nothing);
    expect(await reader.days({})).toMatchObject([{ messages: 0 }, { messages: 0 }, { messages: 0 }]);
  });

  it("reads spooled mail later, as if it had been read at once", async () => {
    expect(await spool(carrying(dmarcXml("a")), carrying(dmarcXml("a")), carrying(""))).toEqual([1, 2, 3]);
    expect(await writer.unparsed()).toBe(3);
    expect(await reader.receivedMail("m1")).toMatchObject({ outcome: "spooled", rawKept: true });
    expect(await total()).toBe(0);
    expect((await writer.parseSpooled(read, 1)).map((r) => r.outcome)).toEqual(["imported"]);
    expect((await writer.parseSpooled(read, 9)).map((r) => r.outcome)).toEqual(["duplicate", "invalid"]);
    expect(await writer.parseSpooled(read, 9)).toEqual([]);
    expect(await writer.unparsed()).toBe(0);
    expect(await reader.receivedMail("m2")).toMatchObject({ rawKept: false });
    expect(await total()).toBe(2);
    expect(await stats()).toMatchObject({ "archive.mail": 3, "archive.outcome.imported": 1 });
  });

  it("reads small spooled mails together, large ones and suspects alone", async () => {
    const large = carrying(`${dmarcXml("large")}<!--${"x".repeat(300_000)}-->`);
    await spool(...[..."abc"].map((id) => carrying(dmarcXml(id))), large, carrying(dmarcXml("d")));
    const groups: number[][] = [];
    const readSome = async () => {
      const results = await writer.parseSpooled(read, 8);
      groups.push(results.map(({ mailId }) => mailId));
    };
    await readSome();
    const database = openDatabase(path);
    database.exec("UPDATE mail SET tries = 1 WHERE id = 5");
    database.close();
    await spool(carrying(dmarcXml("e")), carrying(dmarcXml("f")));
    for (let i = 0; i < 4; i++) await readSome();
    expect(groups).toEqual([[1, 2, 3], [4], [5], [6, 7], []]);
    expect(await total()).toBe(14);
  });

  it("stores some mails of a transaction and reads the others, and knows how many are unparsed", async () => {
    const accepted = await writer.intake(
      ["a", "b", "c"].map((id, i) => ({ intake: carrying(dmarcXml(id)), parseNow: i === 1 })),
      read,
    );
    expect(accepted.map((one) => "spooled" in one && one.spooled)).toEqual([true, false, true]);
    const spooled = await reader.received({ outcome: "spooled" }, { limit: 10 });
    expect(spooled.items.map(({ id }) => id).sort()).toEqual(["m1", "m3"]);
    expect([await writer.unparsed(), await total()]).toEqual([2, 2]);
    expect(await stats()).toMatchObject({ "archive.mail": 3, "archive.unread": 2 });
    await writer.close();
    writer = ParsingArchive.open(path);
    expect(await writer.unparsed()).toBe(2);
    await writer.reparse([1], read); // by hand, before its turn
    expect(await writer.unparsed()).toBe(1);
    await writer.parseSpooled(read, 8);
    expect([await writer.unparsed(), await total()]).toEqual([0, 6]);
  });

  it("loses one mail to a value that the database does not take, not its neighbours", async () => {
    const results = await intake([carrying(dmarcXml("a")), carrying(dmarcXml("b"))], (raw, hints) => {
      const staged = read(raw, hints);
      const items = staged.items.map((item) =>
        item.ok && item.figures.reportId === "b"
          ? { ...item, figures: { ...item.figures, messages: 0.5 } }
          : item,
      );
      return { ...staged, items };
    });
    expect(results).toMatchObject([
      { mailId: 1, reason: null },
      { mailId: 2, outcome: "invalid", reason: "internal" },
    ]);
    expect(await total()).toBe(2);
    expect(await stats()).toMatchObject({ "archive.report.dmarc": 1, "archive.mail": 2 });
  });

  it("loses one spooled mail to a bug in its reading, not those that are read with it", async () => {
    await spool(...["a", "b", "c"].map((id) => carrying(dmarcXml(id))));
    const results = await writer.parseSpooled((raw, hints) => {
      const reading = read(raw, hints);
      if (reading.items.some((item) => item.ok && item.figures.reportId === "b")) throw new Error("bug");
      return reading;
    }, 8);
    expect(results.map((r) => r.reason)).toEqual([null, "internal", null]);
    expect(await reader.receivedMail("m2")).toMatchObject({ outcome: "invalid", rawKept: true });
    expect(await total()).toBe(4);
  });

  it("sets a spooled mail aside after three attempts that did not end", async () => {
    await spool(carrying(dmarcXml()));
    const database = openDatabase(path);
    database.exec("UPDATE mail SET tries = 3");
    database.close();
    expect(await writer.parseSpooled(read, 1)).toMatchObject([{ outcome: "invalid", reason: "internal" }]);
    expect(await reader.receivedMail("m1")).toMatchObject({ outcome: "invalid", rawKept: true });
  });

  it("reads stored mail anew in place of what it gave before", async () => {
    await intake([carrying(dmarcXml())], read);
    const before = await stats();
    expect(await writer.reparse([1, 99], read)).toMatchObject([{ mailId: 1, outcome: "imported" }]);
    expect(await stats()).toEqual(before);
    expect(await total()).toBe(2);
    expect((await reader.records({}, { limit: 10 })).items).toHaveLength(1);
    expect(await writer.reparse([1], nothing)).toMatchObject([{ outcome: "not-a-report" }]);
    expect(await total()).toBe(0);
    expect((await stats())["archive.report.dmarc"]).toBeUndefined();
  });

  it("deletes raw mail and records that have expired, and keeps the day sums", async () => {
    await intake([carrying(dmarcXml()), carrying("")], read);
    const keep: RetentionPolicy = {
      raw: 30 * DAY,
      failedRaw: 90 * DAY,
      records: 4000 * DAY,
      feedback: 30 * DAY,
      mails: 4000 * DAY,
      sums: 8000 * DAY,
    };
    const all = async (at: number, policy = keep): Promise<void> => {
      while ((await writer.writer.expire(at, policy, 10)).more);
    };
    const kept = async (): Promise<unknown[]> =>
      Promise.all(["m1", "m2"].map(async (id) => (await reader.receivedMail(id))?.rawKept));
    await all(NOW + 29 * DAY);
    expect(await kept()).toEqual([true, true]);
    await all(NOW + 31 * DAY);
    expect(await kept()).toEqual([false, true]);
    await all(NOW + 91 * DAY);
    expect(await kept()).toEqual([false, false]);
    expect((await reader.records({}, { limit: 10 })).items).toHaveLength(1);
    await all(NOW + 2 * DAY, { ...keep, records: DAY });
    expect((await reader.records({}, { limit: 10 })).items).toEqual([]);
    expect(await reader.report("r1")).toMatchObject({ messages: 2 });
    expect(await total()).toBe(2);
  });

  it("leaves reports about foreign domains out of the figures", async () => {
    writer.setPolicy({ ...POLICY, domains: ["example.com"] });
    await intake([carrying(dmarcXml("a")), carrying(dmarcXml("b", "other.example"))], read);
    expect(await reader.report("r2")).toMatchObject({ foreign: true });
    expect(await total()).toBe(2);
    const before = await stats();
    expect(before["archive.uncounted.dmarc"]).toBe(1);
    await writer.reparse([1, 2], read);
    expect(await stats()).toEqual(before);
  });

  it("lets a verified report replace one that anybody could have sent", async () => {
    writer.setPolicy({ ...POLICY, verifies: true });
    const verified = {
      ...carrying(dmarcXml().replace("<count>2", "<count>5")),
      auth: {
        verdict: "pass" as const,
        domain: "reporter.example",
        dkimDomains: [],
        tls: "fail" as const,
        by: "own",
        detail: null,
      },
    };
    await intake([carrying(dmarcXml())], read);
    expect(await intake([verified], read)).toMatchObject([{ outcome: "imported" }]);
    expect(await total()).toBe(5);
    expect(await intake([carrying(dmarcXml())], read)).toMatchObject([{ outcome: "duplicate-conflict" }]);
    expect(await total()).toBe(5);
  });

  it("keeps the stored report when the verified one cannot be read to its end", async () => {
    writer.setPolicy({ ...POLICY, verifies: true });
    await intake([carrying(dmarcXml())], read);
    const damaged = dmarcXml().replace("</feedback>", `${"<a>".repeat(40)}</feedback>`);
    const auth = { ...carrying("").auth, verdict: "pass" as const, domain: "reporter.example", by: "own" };
    expect(await intake([{ ...carrying(damaged), auth }], read)).toMatchObject([
      { outcome: "invalid", reason: "too-deep" },
    ]);
    expect([await total(), (await reader.records({}, { limit: 10 })).items.length]).toEqual([2, 1]);
    // and with more records than one block holds, which are written before the end
    const [record] = /<record>.*<\/record>/.exec(dmarcXml())!;
    const long = damaged.replace(record, record.repeat(600));
    expect(await intake([{ ...carrying(long), auth }], read)).toMatchObject([{ reason: "too-deep" }]);
    expect([await total(), (await reader.records({}, { limit: 10 })).items.length]).toEqual([2, 1]);
  });

  it("keeps where a report lay, and who brought its records", async () => {
    await intake([carrying(dmarcXml())], read);
    const { part } = (await reader.report("r1"))!;
    expect(part).toEqual({ name: "r0.xml", mediaType: "text/xml", size: expect.any(Number) });
    expect(part.size).toBe(dmarcXml().length);
    expect((await reader.records({}, { limit: 1 })).items).toMatchObject([{ auth: "none", counted: true }]);
  });

  it("gives the records of a large report back in their order, page by page", async () => {
    const [record] = /<record>.*<\/record>/.exec(dmarcXml())!;
    const many = Array.from({ length: 1500 }, (_, n) =>
      record.replace("192.0.2.1", `198.51.${n >> 8}.${n & 255}`).replace("<count>2", `<count>${n * n * n}`),
    );
    await intake([carrying(dmarcXml().replace(record, many.join("")))], read);
    const found: [string, number][] = [];
    let after: string | undefined;
    do {
      const page = await reader.records({ reportId: "r1" }, { limit: 400, ...(after ? { after } : {}) });
      found.push(...page.items.map((r): [string, number] => [r.sourceIp, r.count]));
      after = page.next ?? undefined;
    } while (after);
    expect(found).toEqual(many.map((_, n) => [`198.51.${n >> 8}.${n & 255}`, n * n * n]));
  });

  const tlsMail = (auth: Partial<Intake["auth"]> = {}): Intake =>
    intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body: tlsJson() }]), {
      auth: { verdict: "none", domain: null, dkimDomains: [], tls: "none", by: "own", detail: null, ...auth },
    });
  const sessions = async (): Promise<number> =>
    (await reader.domains({})).reduce((n, d) => n + d.tlsSessions, 0);
  const spfOnly = { verdict: "pass", domain: "reporter.example", tls: "fail" } as const;
  const signed = { verdict: "pass", domain: "reporter.example", tls: "pass" } as const;

  it("leaves TLS reports without a signature of their domain out of the figures (RFC 8460 3)", async () => {
    writer.setPolicy({ ...POLICY, verifies: true });
    await intake([tlsMail(spfOnly)], read);
    expect(await reader.report("r1")).toMatchObject({
      auth: "fail",
      authDomain: "reporter.example",
      counted: false,
    });
    expect(await reader.receivedMail("m1")).toMatchObject({ auth: "pass", authBy: "own" });
    expect(await sessions()).toBe(0);
    // the signed one takes the place of the other
    expect(await intake([tlsMail(signed)], read)).toMatchObject([{ outcome: "imported" }]);
    expect(await reader.report("r2")).toMatchObject({ auth: "pass", counted: true });
    expect(await reader.report("r1")).toBeUndefined();
    expect(await sessions()).toBe(3);
    expect(await intake([tlsMail(spfOnly)], read)).toMatchObject([{ outcome: "duplicate" }]);
    expect(await stats()).toMatchObject({ "archive.auth.pass": 3, "archive.report.tls": 1 });
    expect((await stats())["archive.uncounted.tls"]).toBeUndefined();
  });

  for (const [name, policy, source, wanted] of [
    ["unless told otherwise", { countUnverified: ["tls"] }, "smtp", 3],
    ["unless nobody cares", { requireAuth: { ...POLICY.requireAuth, tls: "off" } }, "smtp", 3],
    ["unless nothing is verified", { verifies: false }, "smtp", 3],
    ["unless an operator imports them", {}, "import", 3],
    ["and over LMTP too", {}, "lmtp", 0],
  ] as const) {
    it(`leaves unsigned TLS reports out, ${name}`, async () => {
      writer.setPolicy({ ...POLICY, verifies: true, ...policy });
      await intake([{ ...tlsMail(), source }], read);
      expect(await sessions()).toBe(wanted);
    });
  }

  it("refuses by kind what is not authenticated, and keeps the mail", async () => {
    writer.setPolicy({ ...POLICY, verifies: true, requireAuth: { ...POLICY.requireAuth, tls: "reject" } });
    const [dmarc, tls, good] = await intake([carrying(dmarcXml()), tlsMail(spfOnly), tlsMail(signed)], read);
    expect([dmarc?.outcome, tls?.outcome, good?.outcome]).toEqual([
      "imported",
      "unauthenticated",
      "imported",
    ]);
    expect(await reader.receivedMail("m2")).toMatchObject({
      outcome: "unauthenticated",
      reason: "unauthenticated",
      rawKept: true,
      reports: [],
    });
    expect(await sessions()).toBe(3);
  });

  it("can leave unverified DMARC reports out", async () => {
    writer.setPolicy({ ...POLICY, verifies: true, countUnverified: [] });
    await intake([carrying(dmarcXml())], read);
    expect(await reader.report("r1")).toMatchObject({ counted: false, messages: 2 });
    expect(await total()).toBe(0);
  });
});

describe("an archive file", () => {
  const inDirectory = async (work: (path: string) => Promise<void>): Promise<void> => {
    const directory = mkdtempSync(join(tmpdir(), "archive-"));
    try {
      await work(join(directory, "archive.db"));
    } finally {
      rmSync(directory, { recursive: true });
    }
  };

  it("syncs its commits on every open, not only the first", () =>
    inDirectory(async (path) => {
      for (let n = 0; n < 2; n++) {
        await ParsingArchive.open(path).close();
        const database = openDatabase(path);
        expect(database.pragma("synchronous", { simple: true })).toBe(2);
        expect(database.pragma("journal_mode", { simple: true })).toBe("wal");
        database.close();
      }
    }));

  it("of a newer program is refused when that broke with this one, else opened", () =>
    inDirectory(async (path) => {
      await ParsingArchive.open(path).close();
      const change = (pragma: string): void => {
        const database = openDatabase(path);
        database.pragma(pragma);
        database.close();
      };
      change("user_version = 999");
      await ParsingArchive.open(path).close();
      change("application_id = 999");
      expect(() => ParsingArchive.open(path)).toThrow(
        expect.objectContaining({ code: "store.newer_schema" }),
      );
    }));

  it("that is no database is named as damaged", () =>
    inDirectory(async (path) => {
      writeFileSync(path, "this is no database, but long enough to be looked at".repeat(40));
      expect(() => ParsingArchive.open(path)).toThrow(expect.objectContaining({ code: "store.corrupt" }));
    }));
});

/** Finds no report. */
const nothing: Stage = (raw, hints) => stage(raw.subarray(0, 20), hints);

function never(): never {
  throw new Error("nothing is to be parsed");
}
