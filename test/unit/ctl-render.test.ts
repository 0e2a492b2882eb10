/** CSV, TSV, fields and tables. */
import { describe, expect, it } from "vitest";
import { type Column, csvCell, csvLine, plainLine, Table, titleLine, tsvLine } from "../../src/ctl/render.ts";

const columns: readonly Column[] = [
  { title: "A", text: (item) => String(item.a) },
  { title: "B", text: (item) => String(item.b), right: true },
];

describe("CSV", () => {
  it.each([
    ["plain", "plain"],
    ["", ""],
    ["a,b", '"a,b"'],
    ['say "hi"', '"say ""hi"""'],
    ["two\r\nlines", '"two\r\nlines"'],
    // a spreadsheet would run these
    ["=1+1", "'=1+1"],
    ['=HYPERLINK("http://x","y")', '"\'=HYPERLINK(""http://x"",""y"")"'],
    ["+1234", "'+1234"],
    ["-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"],
    ["@SUM(A1)", "'@SUM(A1)"],
    ["\t=1", "'\t=1"],
    ["\r=1", '"\'\r=1"'],
    // numbers are what they are
    ["-5", "-5"],
    ["-0.25", "-0.25"],
    ["1795132800", "1795132800"],
    ["-5+1", "'-5+1"],
    ["-", "'-"],
    ["2023-11-15T00:00:00Z", "2023-11-15T00:00:00Z"],
  ])("%j", (text, cell) => expect(csvCell(text)).toBe(cell));

  it("ends lines as RFC 4180 says, and escapes what moves a terminal", () => {
    expect(csvLine(columns, { a: "\u001b[31m,", b: 1 })).toBe('"\\u{1b}[31m,",1\r\n');
    expect(titleLine(["a", "b"], "csv")).toBe("a,b\r\n");
  });
});

describe("TSV", () => {
  it("has as many fields as columns, whatever is in them, and no formulas", () => {
    expect(tsvLine(columns, { a: "x\ty\nz", b: "=1+1" })).toBe("x\\u{9}y\\u{a}z\t'=1+1\n");
    expect(tsvLine(columns, { a: "\t=1", b: -5 })).toBe("\\u{9}=1\t-5\n");
    expect(titleLine(["a", "b"], "tsv")).toBe("a\tb\n");
  });
});

describe("fields", () => {
  it("escape what separates them", () => {
    expect(plainLine(columns, { a: "a|b", b: "c\nd" })).toBe("a\\u{7c}b|c\\u{a}d\n");
  });
});

describe("a table", () => {
  const drawn = (rows: readonly object[], width = 80) => {
    const writes: string[] = [];
    const table = new Table(columns, width, (text) => writes.push(text));
    for (const row of rows) table.add(row as Record<string, unknown>);
    table.end();
    return writes;
  };

  it("lines columns up, and is nothing without rows", () => {
    expect(
      drawn([
        { a: "one", b: 7 },
        { a: "three", b: 10 },
      ]).join(""),
    ).toBe("A       B\none     7\nthree  10\n");
    expect(drawn([])).toEqual([]);
  });

  it("cuts the widest columns in the middle", () => {
    const [text] = drawn([{ a: "abcdefghijklmnopqrstuvwxyz", b: 1 }], 20);
    for (const line of text!.split("\n")) expect(line.length).toBeLessThanOrEqual(20);
    expect(text).toMatch(/abcdefgh.*…/);
  });

  it("flows after its first rows, in their widths", () => {
    const rows = Array.from({ length: 1500 }, (_, i) => ({ a: `row ${i}`, b: i }));
    const writes = drawn(rows);
    expect(writes.length).toBe(1001);
    const lines = writes.join("").trimEnd().split("\n");
    expect(lines).toHaveLength(1501);
    expect(lines.filter((line) => line.startsWith("A "))).toHaveLength(1);
    expect(new Set(lines.slice(1).map((line) => line.length)).size).toBe(1);
  });
});
