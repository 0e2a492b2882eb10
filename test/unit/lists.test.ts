/** The descriptions of lists: names, meanings, columns, filters and commands fit together. */
import { describe, expect, it } from "vitest";
import { plainColumns, tableColumns } from "../../src/ctl/columns.ts";
import { COMMANDS } from "../../src/ctl/commands.ts";
import { parse } from "../../src/ctl/grammar.ts";
import { filterOptions } from "../../src/ctl/options.ts";
import { type Field, type Fields, rowEncoder, rowReader } from "../../src/model/lists/field.ts";
import { ARCHIVE_FILTERS, type Filter, QUEUE_FILTERS } from "../../src/model/lists/filter.ts";
import type { Column, List } from "../../src/model/lists/list.ts";
import { ARCHIVE_LISTS, EXPORTS, LISTS, listOf, QUEUE_LISTS } from "../../src/model/lists/lists.ts";
import { HEAD_FIELDS, PART_FIELDS, TLS_POLICY_FIELDS } from "../../src/model/lists/report-view.ts";

/** Words that our texts do not use (style: Language). */
const NOT_OURS = /\b(?:crowd|owed|whose|guest|carrier|unread|to be read|came home|so many|its time)\b/i;

function expectPlain(text: string, where: string): void {
  expect(text, where).toMatch(/^[\w@"(].*[^.\s]$/);
  expect(text, where).not.toMatch(NOT_OURS);
  expect(text.length, where).toBeLessThanOrEqual(100);
}

/** The fields of a pipe and of --csv in the order that scripts know. A new one stands behind them. */
const PIPE: Readonly<Record<string, string>> = {
  queue:
    "evpid|src|agent|flags|sender|rcpt|dest|ctime|expire|lasttry|retries|runstate|delay|error|kind|report-id|size",
  outgoing: "id|domain|kind|from|to|due|rows|messages|state",
  received: "mail|received|from|outcome|reason|reports|auth|auth domain|size",
  reports: "report|kind|organisation|domain|begin|end|rows|messages|pass|auth|auth domain|received",
  records: "report|source|count|disposition|dkim|spf|header from|envelope from|dkim results|spf results|auth",
  domains: "domain|policy|messages|pass|fail|unknown|tls sessions|tls fail|reporters|last report",
  sources: "source|messages|pass|fail|unknown|dkim|spf|quarantined|rejected|first|last",
  reporters: "organisation|reports|with warnings|messages|last|parse warnings",
  tls: "report|organisation|domain|policy|begin|end|ok|failed|result types|auth|received",
  failures:
    "report|arrival|domain|source|feedback type|auth failure|delivery|mail from|from|subject|incidents|auth|received",
  dsn: "report|arrival|recipient|action|status|remote mta|diagnostic|reporting mta|message-id|received",
  days: "day|messages|pass|fail|unknown",
  suppressions: "target|until|author|reason|since",
  pauses: "subsystem|destination|since|who|reason",
  jobs: "name|state|last|took|result|next|schedule|error",
};

/** A value of a field on the wire. */
function sample({ type, values, members }: Field): unknown {
  switch (type) {
    case "counts":
      return { some: 1 };
    case "text":
      return values?.[0] ?? "text";
    case "number":
      return 1234;
    case "time":
      return "2026-11-20T00:00:00Z";
    case "day":
      return "2026-11-20";
    case "flag":
      return true;
    case "texts":
      return ["a", "b", "c"];
    case "object":
      return row(members!);
    case "objects":
      return [row(members!)];
    case "map":
      return { a: "b" };
    case "pairs":
      return [["a", "b"]];
  }
}

const row = (fields: Fields): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, sample(field)]));

/** A row that notes which of its members were looked at. */
function watched(fields: Fields): { item: Record<string, unknown>; seen: Set<string> } {
  const seen = new Set<string>();
  const item = new Proxy(row(fields), {
    get(target, name) {
      seen.add(String(name));
      return target[String(name)];
    },
  });
  return { item, seen };
}

function everyField(fields: Fields, check: (name: string, field: Field) => void): void {
  for (const [name, field] of Object.entries(fields)) {
    check(name, field);
    everyField(field.members ?? {}, check);
  }
}

const columnsOf = ({ columns, plain = [] }: List): readonly Column[] => [...columns, ...plain];

describe("the lists", () => {
  it("two with one name hid each other: names, routes and exports are unique", () => {
    const names = EXPORTS.flatMap(({ name, alias }) => [name, ...(alias === undefined ? [] : [alias])]);
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(LISTS)).toEqual(new Set(EXPORTS));
    for (const [name, list] of Object.entries({ ...ARCHIVE_LISTS, ...QUEUE_LISTS }))
      expect([list.name, listOf(name)]).toEqual([name, list]);
    for (const list of Object.values(ARCHIVE_LISTS)) expect(list.store).toBe("archive");
    for (const list of Object.values(QUEUE_LISTS)) expect(list.store).toBe("queue");
    expect(() => listOf("nothing")).toThrow("no such list: nothing");
  });

  describe.each(LISTS.map((list) => [list.name, list] as const))("%s", (_name, list) => {
    it("a field without a meaning, or in camelCase, reached the wire", () => {
      expectPlain(list.help, "help");
      expectPlain(list.order, "order");
      everyField(list.fields, (name, { help, members, type }) => {
        expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
        expectPlain(help, name);
        expect(members !== undefined, name).toBe(type === "object" || type === "objects");
      });
      for (const field of Object.values(list.fields)) expect(field.optional).toBeUndefined();
    });

    it("a column that shows no field was empty: each shows fields that the list has", () => {
      const titles = list.columns.map(({ title }) => title);
      expect(new Set(titles).size).toBe(titles.length);
      for (const { title, field, of, form, text, when } of columnsOf(list)) {
        expect(field !== undefined || text !== undefined, title).toBe(true);
        for (const name of [field, of])
          if (name !== undefined) expect(list.fields, title).toHaveProperty(name);
        expect(of !== undefined, title).toBe(form === "share");
        if (form === "day") expect(list.fields[field!]!.type, title).toBe("time");
        const { item, seen } = watched(list.fields);
        if (text) expect(text(item, 0), title).toBeTypeOf("string");
        when?.(item);
        for (const name of seen) expect(list.fields, title).toHaveProperty(name);
      }
    });

    it("columns that may be left out have an order, and some column stays", () => {
      const drops = list.columns.flatMap(({ drop }) => drop ?? []);
      expect(new Set(drops).size).toBe(drops.length);
      expect(drops.length).toBeLessThan(list.columns.length);
    });

    it("a null was shown as the word null: every column has a text for it", () => {
      const nothing = Object.fromEntries(
        Object.entries(list.fields).map(([name, field]) => [name, field.nullable ? null : sample(field)]),
      );
      for (const column of [...tableColumns(list, 0), ...plainColumns(list, 0)])
        for (const show of [column.text, column.plain ?? column.text])
          expect(show(nothing), column.title).not.toMatch(/null|undefined|NaN/);
    });

    it("a column put in the middle moved the fields of scripts: those of a pipe keep their places", () => {
      const titles = plainColumns(list, 0).map(({ title }) => title.toLowerCase());
      expect(PIPE).toHaveProperty(list.name);
      const known = PIPE[list.name]!.split("|");
      expect(titles.slice(0, known.length)).toEqual(known);
    });

    it("a filter of its own vocabulary was understood nowhere: each is a known one", () => {
      const known: Readonly<Record<string, Filter>> = {
        ...ARCHIVE_FILTERS,
        ...(list.store === "queue" ? QUEUE_FILTERS : {}),
      };
      for (const [name, { help, type, values, option }] of Object.entries(list.filters)) {
        expect(known, name).toHaveProperty(name);
        expect(type, name).toBe(known[name]!.type);
        expect(help, name).not.toMatch(NOT_OURS);
        if (values !== undefined) expect(type, name).toBe("text");
        if (option) expect(option.value === undefined, name).toBe(type === "flag");
      }
    });

    it("a filter that no command takes was of no use: the commands take all, and the operand is one", () => {
      for (const { words, operand, instead } of list.commands) {
        const command = COMMANDS.find((each) => each.words.join(" ") === words.join(" "))!;
        expect([command.run, command.list?.name, command.help]).toEqual(["list", list.name, list.help]);
        if (operand) expect(list.filters).toHaveProperty(operand.filter);
        if (instead) expect(listOf(instead.list)).toBeDefined();
        for (const { name, value, values } of filterOptions(list.filters)) {
          const typed = value === undefined ? [`--${name}`] : [`--${name}`, values?.[0] ?? "7"];
          expect(parse(COMMANDS, [...words, ...typed]).options, name).toHaveProperty(name);
        }
      }
    });
  });

  it("every list but the reports of `show received --reports` has a command, and every command its list", () => {
    expect(LISTS.filter(({ commands }) => commands.length === 0).map(({ name }) => name)).toEqual([
      "reports",
    ]);
    const shown = COMMANDS.filter(({ run }) => run === "list");
    expect(shown).toHaveLength(LISTS.flatMap(({ commands }) => commands).length);
    for (const { list } of shown) expect(listOf(list!.name)).toBeDefined();
  });

  it("every field of a single report has a meaning", () => {
    for (const fields of [...Object.values(HEAD_FIELDS), PART_FIELDS, TLS_POLICY_FIELDS])
      everyField(fields, (name, { help }) => {
        expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
        expectPlain(help, name);
      });
  });
});

describe("rows", () => {
  const { dsn } = HEAD_FIELDS;
  const model = {
    kind: "dsn",
    reportingMta: "mx.example",
    arrivalDate: 0,
    structured: true,
    recipients: [{ finalRecipient: "a@b.example", action: "failed", lastAttempt: 86_400 }],
    date: 1,
    secret: "not a field",
  };

  it("members of the model were sent in camelCase: they have the names of the wire, times RFC 3339", () => {
    expect(rowEncoder(dsn)(rowReader(dsn)(model))).toEqual({
      kind: "dsn",
      reporting_mta: "mx.example",
      original_envelope_id: null,
      arrival_date: "1970-01-01T00:00:00Z",
      original_message_id: null,
      structured: true,
      recipients: [
        {
          original_recipient: null,
          final_recipient: "a@b.example",
          action: "failed",
          status: null,
          remote_mta: null,
          diagnostic: null,
          last_attempt: "1970-01-02T00:00:00Z",
          will_retry_until: null,
        },
      ],
      date: "1970-01-01T00:00:01Z",
    });
  });

  it("a field that the list does not have was sent: the fields in their order, and nothing else", () => {
    const { fields } = ARCHIVE_LISTS.days;
    const given = { unknown: 4, fail: 3, pass: 2, messages: 1, day: 86_400, more: 5 };
    expect(Object.entries(rowEncoder(fields)(given))).toEqual([
      ["day", "1970-01-02"],
      ["messages", 1],
      ["pass", 2],
      ["fail", 3],
      ["unknown", 4],
    ]);
  });

  it("what an object may lack is lacking, what is null stays null", () => {
    const dkim = ARCHIVE_LISTS.records.fields.dkim_results.members!;
    expect(rowReader(dkim)({ domain: null, result: "pass", humanResult: "good" })).toEqual({
      domain: null,
      selector: null,
      result: "pass",
      human_result: "good",
    });
  });
});
