/** Lists over more records than a test could send by mail: blocks of records are written by SQL. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ArchiveFilter } from "../../src/store/archive/reader.ts";
import { ArchiveBox, mailWithXml } from "../support/archive-box.ts";
import { dmarcXml } from "../support/reading.ts";

const DAY = 86_400;
/** More records than are scanned for one page, in blocks of 256 records of 4 bytes. */
const BLOCKS = 800;

describe("a list of rare records", () => {
  let box: ArchiveBox;
  beforeEach(async () => {
    box = new ArchiveBox();
    const next = dmarcXml("next").replace(/(<begin>|<end>)(\d+)/g, (_, tag, at) => tag + (Number(at) + DAY));
    await box.intake(mailWithXml(dmarcXml("large")), mailWithXml(next));
    box.sql((database) =>
      database
        .prepare(
          `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
           INSERT INTO record_block SELECT (1 << 20) + i, ?, NULL FROM n`,
        )
        .run(BLOCKS, Buffer.alloc(4 * 256, 1)),
    );
  });
  afterEach(() => box.remove());

  /** Cursors after each page, five pages at most. */
  async function cursors(filter: ArchiveFilter): Promise<(string | null)[]> {
    const next: (string | null)[] = [];
    do {
      const after = next.at(-1);
      const page = await box.reader.list("records", filter, { limit: 5, ...(after ? { after } : {}) });
      expect(page.items).toEqual([]);
      next.push(page.next);
    } while (next.at(-1) !== null && next.length < 5);
    return next;
  }

  for (const [what, filter] of [
    ["of all reports", {}],
    ["of one report", { report: "r1" }],
  ] as const)
    it(`${what} never ended at a report of 200,000: each page began and ended there`, async () => {
      expect(await cursors({ ...filter, source: "203.0.113.9" })).toEqual([
        expect.stringMatching(/\.204800$/),
        null,
      ]);
    });
});
