/** What the archive does that only a database does: syncs, versions, damaged files, values that it does not take. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { ArchiveBox, mailWithXml, read } from "../support/archive-box.ts";
import { ParsingArchive } from "../support/parsing-archive.ts";
import { dmarcXml } from "../support/reading.ts";

describe("a batch", () => {
  let box: ArchiveBox;
  beforeEach(() => {
    box = new ArchiveBox();
  });
  afterEach(() => box.remove());

  it("keeps a mail raw when the database does not take a value of it, and stores the others of the batch", async () => {
    const results = await box.writer.intake(
      [mailWithXml(dmarcXml("a")), mailWithXml(dmarcXml("b"))].map((intake) => ({ intake, parseNow: true })),
      (raw, hints) => {
        const staged = read(raw, hints);
        const items = staged.items.map((item) =>
          item.ok && item.figures.reportId === "b"
            ? { ...item, figures: { ...item.figures, messages: 0.5 } }
            : item,
        );
        return { ...staged, items };
      },
    );
    expect(results).toMatchObject([
      { result: { mailId: 1, reason: null } },
      { result: { mailId: 2, outcome: "invalid", reason: "internal" } },
    ]);
    expect(await box.messages()).toBe(2);
    expect(await box.counters()).toMatchObject({ "archive.report.dmarc": 1, "archive.mail": 2 });
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
