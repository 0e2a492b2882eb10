/** Every file of the corpus comes to the figures that it must come to, or is refused with a reason. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { configSchema } from "../../src/config/schema.ts";
import { checkFile } from "../../src/format/check.ts";
import { REASONS } from "../../src/model/outcome.ts";
import { figures, isValid, readManifest } from "../support/manifest.ts";

const DATA = join(dirname(fileURLToPath(import.meta.url)), "data");
const { limits } = configSchema.parse({});
const rows = readManifest(join(DATA, "MANIFEST.tsv"));
const NOW = Date.parse("2026-11-20T00:00:00Z") / 1000;

const check = (file: string) =>
  checkFile(readFileSync(join(DATA, file)), file, limits, NOW, () => performance.now());

describe("the corpus", () => {
  it("is there", () => {
    expect(rows.length).toBeGreaterThan(350);
  });

  for (const row of rows.filter(isValid)) {
    it(`${row.file} (${row.item + 1}) is read`, () => {
      const result = check(row.file);
      const { found, wanted } = figures(result.reports[row.item], row);
      expect(found).toBe(wanted);
      expect(["imported", "imported-with-warnings", "partial"]).toContain(result.outcome);
      if (row.expected === "partial") expect(result.outcome).toBe("partial");
    });
  }

  for (const row of rows.filter((r) => !isValid(r))) {
    it(`${row.file} is refused with a reason`, () => {
      const result = check(row.file);
      expect(result.reports).toEqual([]);
      expect(["invalid", "not-a-report"]).toContain(result.outcome);
      expect(Object.keys(REASONS)).toContain(result.reason);
      if (row.expected === "not-a-report" && row.kind !== "hostile")
        expect(result.outcome).toBe("not-a-report");
    });
  }
});
