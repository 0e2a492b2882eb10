/** CSV, TSV, fields and tables. */
import { describe, expect, it } from "vitest";
import { share, tableColumns } from "../../src/ctl/columns.ts";
import {
  type Column,
  csvCell,
  csvLine,
  details,
  plainLine,
  relative,
  Table,
  titleLine,
  tsvLine,
} from "../../src/ctl/render.ts";
import { listOf } from "../../src/model/lists/lists.ts";

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

  const lineOf = (list: readonly Column[], item: object, width: number) => {
    let text = "";
    const table = new Table(list, width, (more) => {
      text += more;
    });
    table.add(item as Record<string, unknown>);
    table.end();
    return text.trimEnd().split("\n");
  };
  const id = (title: string, more: Partial<Column> = {}): Column => ({
    title,
    text: (item) => String(item[title]),
    ...more,
  });

  it("was cut in the middle: a text is cut at its end, ids and codes are not", () => {
    const list = [id("ID"), id("CODE"), id("REPLY", { cut: 8 })];
    const item = { ID: "36be11f2814b3aaa", CODE: "no_destination", REPLY: "550 5.1.1 no such user here" };
    expect(lineOf(list, item, 50)[1]).toBe("36be11f2814b3aaa  no_destination  550 5.1.1 no su…");
    // too narrow even so: printed in full rather than unusable
    expect(lineOf(list, item, 20)[1]).toBe("36be11f2814b3aaa  no_destination  550 5.1…");
    expect(lineOf([id("A", { cut: 4 })], { A: "abc\u{1f600}def" }, 5)[1]).toBe("abc…");
  });

  it("wrapped on a narrow terminal: columns of little weight are left out, one after the other", () => {
    const list = [id("ID"), id("SIZE", { drop: 2 }), id("KIND", { drop: 1 }), id("NAME", { cut: 6 })];
    const item = { ID: "r1234567", SIZE: "12345", KIND: "dmarc", NAME: "a long name" };
    expect(lineOf(list, item, 80)[0]).toBe("ID        SIZE   KIND   NAME");
    expect(lineOf(list, item, 34)[1]).toBe("r1234567  12345  dmarc  a long na…");
    expect(lineOf(list, item, 29)[1]).toBe("r1234567  dmarc  a long name");
    expect(lineOf(list, item, 20)[1]).toBe("r1234567  a long na…");
  });

  it("flows after its first rows, in their widths", () => {
    const rows = Array.from({ length: 1500 }, (_, i) => ({ a: `row ${1000 + i}`, b: 1000 + i }));
    const writes = drawn(rows);
    expect(writes.length).toBe(1001);
    const lines = writes.join("").trimEnd().split("\n");
    expect(lines).toHaveLength(1501);
    expect(lines.filter((line) => line.startsWith("A "))).toHaveLength(1);
    expect(new Set(lines.slice(1).map((line) => line.length)).size).toBe(1);
  });
});

describe("the lists at 80 columns", () => {
  const NOW = Date.parse("2026-11-21T12:00:00Z");
  const table = (list: readonly Column[], item: object) => {
    let text = "";
    const drawn = new Table(list, 80, (more) => {
      text += more;
    });
    drawn.add(item as Record<string, unknown>);
    drawn.end();
    expect(
      text
        .trimEnd()
        .split("\n")
        .filter((line) => line.length > 80),
    ).toEqual([]);
    return text;
  };

  it("cut ids of envelopes and the middle of replies", () => {
    const item = {
      id: "36be11f2c0ffee99",
      kind: "dmarc",
      domain: "a-long-name.sender.example",
      rcpt: "dmarc-reports@a-long-name.sender.example",
      state: "pending",
      attempts: 3,
      next_at: "2026-11-21T12:30:00Z",
      expires_at: "2026-11-22T12:00:00Z",
      last: { text: "450 4.2.1 the mailbox is full; try again later, or ask the postmaster" },
    };
    const text = table(tableColumns(listOf("queue"), NOW), item);
    expect(text).toContain("36be11f2c0ffee99  dmarc-reports@");
    expect(text).toMatch(/450 4\.2\.1 the mailb\S*…\n/);
  });

  it("cut ids of outgoing reports, so that no command took them", () => {
    const item = {
      id: "d!a-name.sender.example!9c1f7a5e02b4d816!1795219200",
      domain: "a-name.sender.example",
      kind: "dmarc",
      begin: "2026-11-21T00:00:00Z",
      end: "2026-11-22T00:00:00Z",
      due: "2026-11-22T01:00:00Z",
      rows: 1000,
      messages: 1000,
      state: "open",
    };
    expect(table(tableColumns(listOf("outgoing"), NOW), item)).toContain(`${item.id}  `);
  });

  it("cut outcomes, reasons and addresses", () => {
    const mail = {
      id: "m123456",
      received_at: "2026-11-20T00:00:00Z",
      from: "noreply-dmarc-support@reports.reporter.example",
      outcome: "imported_with_warnings",
      reason: "decompression_ratio",
      reports: ["r1", "r2", "r3"],
      auth: "pass",
      auth_domain: "reporter.example",
      size: 12_345,
    };
    expect(table(tableColumns(listOf("received"), NOW), mail)).toMatch(
      /imported_with_warnings {2}decompression_ratio/,
    );
    const source = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff";
    const figures = { messages: 1_234_567, pass: 1, fail: 1, unknown: 0, dkim_pass: 1, spf_pass: 1 };
    const more = { quarantine: 0, reject: 0, first: "2026-11-20T00:00:00Z", last: "2026-11-21T00:00:00Z" };
    expect(table(tableColumns(listOf("sources"), NOW), { source, ...figures, ...more })).toContain(
      `${source}  `,
    );
    table(tableColumns(listOf("domains"), NOW), {
      domain: `${"long.".repeat(20)}example`,
      policy: "reject",
      ...figures,
    });
  });
});

describe("figures for people", () => {
  it("100.0% stood beside a failure: it is all, and 0.0% is none", () => {
    expect([share(99_999, 100_000), share(1, 100_000)]).toEqual(["99.9%", "0.1%"]);
    expect([share(5, 5), share(0, 5), share(2, 3), share(0, 0)]).toEqual(["100.0%", "0.0%", "66.7%", "-"]);
  });

  it("11528d ago said nothing: a time that is far away is a date", () => {
    const now = Date.parse("2026-11-21T12:00:00Z");
    expect(relative("1995-04-30T10:00:00Z", now)).toBe("1995-04-30");
    expect(relative("2026-11-19T12:00:00Z", now)).toBe("2d ago");
    expect(relative("2027-03-01T00:00:00Z", now)).toBe("2027-03-01");
  });
});

describe("details", () => {
  it("were lines of JSON: members of lists are indented lines, attempts are time, host, result and reply", () => {
    const last = { code: 450, text: "450 4.2.1 full" };
    const history = [
      {
        at: "2026-11-21T10:00:00Z",
        result: "temporary",
        code: 450,
        text: "450 4.2.1 full\u001b[2J",
        mx: "mx.example",
        ip: "192.0.2.1",
      },
      { at: "2026-11-21T11:00:00Z", result: "temporary", text: "no route", mx: null, ip: null },
    ];
    const envelopes = [{ id: "a1", rcpt: "a@b.example", flags: ["hold"], attempts: 1, last }];
    const lists = { checks: [{ check: "policy", ok: true }], hosts: [["a", "b"], "c"], none: [] };
    expect(details({ id: "x", envelopes, history, ...lists })).toBe(`id: x
envelopes:
  - id: a1
    rcpt: a@b.example
    flags: hold
    attempts: 1
    last:
      code: 450
      text: 450 4.2.1 full
history:
  2026-11-21T10:00:00Z  mx.example  temporary  450 4.2.1 full\\u{1b}[2J
  2026-11-21T11:00:00Z  -  temporary  no route
checks:
  - check: policy, ok: true
hosts: [a, b], c
none:${" "}
`);
  });
});
