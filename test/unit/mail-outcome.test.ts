/** The one outcome of a mail, from what was read in it. */
import { describe, expect, it } from "vitest";
import { mailOutcome } from "../../src/model/mail-outcome.ts";
import {
  joinWarnings,
  NOTES,
  type Reason,
  WARNINGS,
  type Warning,
  WarningList,
} from "../../src/model/outcome.ts";
import type { ItemResult, Kept } from "../../src/model/reading.ts";

const part = { name: null, mediaType: null, size: 1 };

function report(kept: Kept = "new", warnings: readonly Warning[] = [], droppedRecords = 0): ItemResult {
  const figures = {
    kind: "dmarc" as const,
    orgName: "x",
    reportId: "1",
    policyDomain: "example.com",
    begin: 1,
    end: 2,
    records: 1,
    messages: 1,
    passMessages: 1,
    droppedRecords,
    warnings: warnings.map((code) => ({ code, count: 1, detail: null })),
  };
  return { ok: true, figures, kept, part };
}
const refused = (reason: Reason): ItemResult => ({ ok: false, kind: null, reason, detail: null, part });

const outcome = (items: readonly ItemResult[], reason: Reason | null, wanted: string) =>
  it(`${items.map((i) => (i.ok ? `${i.kept}${i.figures.warnings.map((w) => ` ${w.code}`)}` : i.reason)).join(" + ") || reason} is ${wanted}`, () => {
    const verdict = mailOutcome({ items, reason, detail: null });
    expect(`${verdict.outcome}${verdict.reason === null ? "" : ` (${verdict.reason})`}`).toBe(wanted);
  });

describe("the outcome of a mail", () => {
  outcome([report()], null, "imported");
  outcome([report("new", ["forwarded", "long-span"])], null, "imported");
  outcome([report("new", ["xml-repaired"])], null, "imported-with-warnings");
  outcome([report("new", [], 1)], null, "partial");
  outcome([report(), refused("truncated")], null, "partial (truncated)");
  outcome([report("duplicate")], null, "duplicate (duplicate)");
  outcome([report("duplicate"), report("conflict")], null, "duplicate-conflict (conflict)");
  outcome([report("duplicate"), report()], null, "imported");
  outcome([refused("not-xml"), refused("empty")], null, "invalid (not-xml)");
  outcome([], "no-report", "not-a-report (no-report)");
  outcome([], "auto-reply", "not-a-report (auto-reply)");
  outcome([], "too-deep", "not-a-report (too-deep)");
  outcome([], "too-many-parts", "not-a-report (too-many-parts)");
  outcome([], "too-large", "invalid (too-large)");
  outcome([], "empty", "invalid (empty)");
});

describe("warnings", () => {
  it("that are only notes are all in the catalogue", () => {
    expect([...NOTES].filter((code) => !(code in WARNINGS))).toEqual([]);
  });
  it("of several lists are added up, the first detail kept", () => {
    const a = new WarningList();
    const b = new WarningList();
    a.add("forwarded", "first");
    b.add("forwarded", "second");
    b.add("xml-repaired");
    expect(joinWarnings(a, undefined, b)).toEqual([
      { code: "forwarded", count: 2, detail: "first" },
      { code: "xml-repaired", count: 1, detail: null },
    ]);
  });
});
