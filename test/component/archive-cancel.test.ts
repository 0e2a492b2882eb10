/** Questions that are cancelled while they run: what looks at many rows checks for it, in SQL and in loops. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { ARCHIVE_LISTS } from "../../src/model/lists/lists.ts";
import type { ArchiveReader } from "../../src/store/archive/reader.ts";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { QUESTIONS } from "../../src/store/sqlite/archive/reader-protocol.ts";
import { ArchiveBox } from "../support/archive-box.ts";

const ROWS = 5000;
const BEGIN = 1_790_000_000;
const WINDOW = { since: BEGIN, until: BEGIN + 86_400 };

/** Rows of every table that a question may look at as a whole, as the writer would have made them of many reports. */
const SEED = `
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) SELECT i FROM n;
INSERT INTO domain (id, name) SELECT i, 'd' || i || '.example' FROM n;
INSERT INTO org (id, key, name) SELECT i, 'org' || i, 'Org' || i FROM n;
INSERT INTO domain_org SELECT i, i, 1, ${BEGIN}, ${BEGIN + 86_399}, ${BEGIN + 90_000} FROM n;
INSERT INTO mail (id, received_at, source, envelope_to, size, form, auth, state, outcome)
  SELECT i, ${BEGIN + 90_000}, 'smtp', '[]', 1, 'mail', 'none', 'done', 'imported' FROM n;
INSERT INTO raw SELECT i, x'00' FROM n;
INSERT INTO report (id, mail_id, kind, org_id, report_id, domain_id, domains, "begin", "end", content_hash, records, messages,
    dropped, counted, "foreign", auth, received_at, part_size)
  SELECT i, i, CASE i % 4 WHEN 0 THEN 'tls' WHEN 1 THEN 'failure' ELSE 'dmarc' END, i, 'r' || i, 1, 'd1.example', ${BEGIN}, ${BEGIN + 86_399}, x'00', 1, 1,
    0, 1, 0, 'none', ${BEGIN + 90_000}, 1 FROM n;
INSERT INTO report_also SELECT 2, i FROM n;
INSERT INTO warning SELECT i, 'missing-field', 1, NULL FROM n;
INSERT INTO source (id, ip) VALUES (1, x'C0000205');
INSERT INTO record_block SELECT i << 20, x'01010501', NULL FROM n;
INSERT INTO daily SELECT 1, ${BEGIN - (BEGIN % 86_400)}, i, 0, 1 FROM n;
INSERT INTO daily_total SELECT i, ${BEGIN - (BEGIN % 86_400)}, 0, 1 FROM n;
INSERT INTO tls_daily SELECT 1, ${BEGIN - (BEGIN % 86_400)}, i, 1, 0 FROM n;
DROP TABLE n;
`;
const ALL = { raw: 0, failedRaw: 0, records: 0, feedback: 0, mails: 0, sums: 0 };
const page = { limit: 10 };

/** Questions that look at many rows before they have an answer, or find none. */
const LONG: readonly (readonly [string, (reader: ArchiveReader) => Promise<unknown>])[] = [
  ["received", (reader) => reader.list("received", { outcome: "invalid" }, page)],
  ["received of a kind", (reader) => reader.list("received", { kind: "arf" }, page)],
  ["reports of a kind", (reader) => reader.list("reports", { kind: "dsn" }, page)],
  ["reports of a window", (reader) => reader.list("reports", WINDOW, page)],
  ["reports of a kind in a window", (reader) => reader.list("reports", { ...WINDOW, kind: "dsn" }, page)],
  ["reports of a further domain", (reader) => reader.list("reports", { domain: "d2.example" }, page)],
  ["reports of an organisation", (reader) => reader.list("reports", { org: "nobody" }, page)],
  ["reports with a warning", (reader) => reader.list("reports", { warning: "unknown-value" as never }, page)],
  ["records of a window", (reader) => reader.list("records", { ...WINDOW, source: "192.0.2.1" }, page)],
  ["records of an organisation", (reader) => reader.list("records", { org: "nobody" }, page)],
  ["tls", (reader) => reader.list("tls", { warning: "unknown-value" as never }, page)],
  ["failures", (reader) => reader.list("failures", { kind: "arf" }, page)],
  ["dsn", (reader) => reader.list("dsn", {}, page)],
  ["domains", (reader) => reader.list("domains", {}, page)],
  ["domains of an organisation", (reader) => reader.list("domains", { org: "nobody" }, page)],
  ["domains of a window", (reader) => reader.list("domains", WINDOW, page)],
  ["sources", (reader) => reader.list("sources", WINDOW, page)],
  ["reporters", (reader) => reader.list("reporters", {}, page)],
  ["reporters of a window", (reader) => reader.list("reporters", WINDOW, page)],
  ["days", (reader) => reader.list("days", {}, page)],
  ["days of an organisation", (reader) => reader.list("days", { org: "nobody" }, page)],
  ["expirable", (reader) => reader.expirable(BEGIN * 2, ALL)],
  ["size", (reader) => reader.size()],
];

describe("cancelling a question that runs", () => {
  let full: ArchiveBox;
  let empty: ArchiveBox;
  beforeAll(() => {
    full = new ArchiveBox();
    full.sql((database) => database.exec(SEED));
    empty = new ArchiveBox();
  });
  afterAll(async () => {
    await full.remove();
    await empty.remove();
  });

  /** How often a question checks. */
  async function checks(box: ArchiveBox, ask: (reader: ArchiveReader) => Promise<unknown>): Promise<number> {
    let count = 0;
    const reader = openArchiveReader(box.path, () => count++);
    await ask(reader);
    await reader.close();
    return count;
  }

  it.each(LONG)("%s ran to its end: it checks again and again while it looks at rows", async (_name, ask) => {
    const more = (await checks(full, ask)) - (await checks(empty, ask));
    expect(more).toBeGreaterThanOrEqual(Math.floor(ROWS / 1024));
  });

  it.each(LONG)(
    "%s ends with the error of the check, and the connection answers the next one",
    async (_name, ask) => {
      const last = await checks(full, ask);
      let left = last - 1;
      const reader = openArchiveReader(full.path, () => {
        if (left-- === 0) throw new MailreportError("archive.cancelled");
      });
      await expect(ask(reader)).rejects.toMatchObject({ code: "archive.cancelled" });
      expect(await ask(reader)).toBeDefined();
      await reader.close();
    },
  );

  it("every long question is tried here", () => {
    const tried = new Set(LONG.map(([name]) => name.split(" ")[0]));
    const long = Object.entries(QUESTIONS).filter(([name, cost]) => cost === "long" && name !== "list");
    const names = [...Object.keys(ARCHIVE_LISTS), ...long.map(([name]) => name)];
    expect(names.filter((name) => !tried.has(name))).toEqual([]);
  });
});
