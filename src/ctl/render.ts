/** Output: tables for people, fields for programs, JSON for both. All outside text is escaped on every text form. */
import { clean } from "../lib/text.ts";
import { formatDuration } from "../lib/units.ts";

export type Form = "table" | "plain" | "json" | "csv" | "tsv";

/** One column: its title, its text for people, and for programs where that differs. */
export interface Column {
  readonly title: string;
  readonly text: (item: Item) => string;
  readonly plain?: (item: Item) => string;
  readonly right?: boolean;
  /** Longer texts may be cut at their end, to no fewer characters than these. Without it (ids, addresses, codes): never. */
  readonly cut?: number;
  /** Columns with this may be left out of a table that is too wide, those with the greatest number first. */
  readonly drop?: number;
}

export type Item = Readonly<Record<string, unknown>>;

export const str = (value: unknown): string => (value === null || value === undefined ? "" : String(value));

/** RFC 3339 → epoch seconds, as text; "" for null. */
export const epoch = (value: unknown): string =>
  typeof value === "string" ? String(Math.floor(Date.parse(value) / 1000)) : "";

/** Times farther away are shown as a date. Milliseconds. */
const FAR = 30 * 86_400_000;

/** "in 5m", "3h ago"; the date when it is more than 30 days away. */
export function relative(value: unknown, now: number): string {
  if (typeof value !== "string") return "-";
  const ms = Date.parse(value) - now;
  if (Math.abs(ms) > FAR) return day(value);
  const text = formatDuration(Math.abs(ms)).replace(/^(\d+[dhm])\d+[hms]$/, "$1");
  return ms >= 0 ? `in ${text}` : `${text} ago`;
}

export const day = (value: unknown): string => str(value).slice(0, 10);

export const thousands = (value: unknown): string => str(value).replace(/\B(?=(\d{3})+$)/g, ",");

/** Rows that decide the widths of a table; later ones are cut to them. */
const FITTED_ROWS = 500;

/**
 * A table fitted to the terminal: long texts are cut at their end, and columns of little weight are left out. What
 * still does not fit is printed in full. However long the table, few of its rows are held.
 */
export class Table {
  readonly #columns: readonly Column[];
  readonly #width: number;
  readonly #write: (text: string) => void;
  #waiting: string[][] = [];
  #widths: readonly (number | null)[] | undefined;

  constructor(columns: readonly Column[], width: number, write: (text: string) => void) {
    this.#columns = columns;
    this.#width = width;
    this.#write = write;
  }

  add(item: Item): void {
    const row = this.#columns.map((c) => clean(c.text(item)));
    if (this.#widths) this.#write(this.#line(row, this.#widths));
    else if (this.#waiting.push(row) >= FITTED_ROWS) this.#begin();
  }

  /** Writes what waits. Nothing at all when there was no row. */
  end(): void {
    if (!this.#widths && this.#waiting.length > 0) this.#begin();
  }

  #begin(): void {
    const titles = this.#columns.map((c) => c.title);
    const widths = fitted(this.#columns, this.#waiting, this.#width);
    this.#widths = widths;
    this.#write([titles, ...this.#waiting].map((row) => this.#line(row, widths)).join(""));
    this.#waiting = [];
  }

  #line(row: readonly string[], widths: readonly (number | null)[]): string {
    const cells = row.flatMap((text, i) => {
      const [column, width] = [this.#columns[i]!, widths[i] ?? null];
      if (width === null) return [];
      const cell = column.cut === undefined ? text : shorten(text, width);
      return [column.right ? cell.padStart(width) : cell.padEnd(width)];
    });
    return `${cells.join("  ").trimEnd()}\n`;
  }
}

/** Widths of the columns, null for those that are left out; together they fit into `width`, if they can. */
function fitted(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): (number | null)[] {
  const full = columns.map(({ title }, i) =>
    rows.reduce((most, row) => Math.max(most, row[i]!.length), title.length),
  );
  const least = columns.map(({ title, cut = Infinity }, i) =>
    Math.min(full[i]!, Math.max(cut, title.length)),
  );
  const shown = new Set(columns.keys());
  const sum = (widths: readonly number[]): number => [...shown].reduce((all, i) => all + widths[i]! + 2, -2);
  const droppable = [...shown]
    .filter((i) => columns[i]!.drop !== undefined)
    .sort((a, b) => columns[b]!.drop! - columns[a]!.drop!);
  for (const i of droppable) {
    if (sum(least) <= width) break;
    shown.delete(i);
  }
  const widths = [...full];
  for (let over = sum(full) - width; over > 0; over--) {
    const longest = [...shown].reduce<number | undefined>(
      (best, i) => (widths[i]! > least[i]! && (best === undefined || widths[i]! > widths[best]!) ? i : best),
      undefined,
    );
    if (longest === undefined) break;
    widths[longest]!--;
  }
  return widths.map((w, i) => (shown.has(i) ? w : null));
}

/** Cuts at the end, never inside a character. */
function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  return `${text.slice(0, width - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** smtpctl's `|` fields. A `|` or line end inside a field is escaped. */
export function plainLine(columns: readonly Column[], item: Item): string {
  return `${columns.map((c) => clean((c.plain ?? c.text)(item)).replace(/\|/g, "\\u{7c}")).join("|")}\n`;
}

const NUMBER = /^-?\d+(?:\.\d+)?$/;

/** What a spreadsheet would run as a formula is marked as text by a `'`; numbers are what they are. */
function inert(text: string): string {
  return /^[=+\-@\t\r]/.test(text) && !NUMBER.test(text) ? `'${text}` : text;
}

/** RFC 4180: quoted where needed. Never a formula. */
export function csvCell(text: string): string {
  const safe = inert(text);
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

export function csvLine(columns: readonly Column[], item: Item): string {
  return `${columns.map((c) => csvCell(clean((c.plain ?? c.text)(item)))).join(",")}\r\n`;
}

/** Tabs and line ends in a field are escaped like all control characters. Never a formula. */
export function tsvLine(columns: readonly Column[], item: Item): string {
  return `${columns.map((c) => inert(clean((c.plain ?? c.text)(item)))).join("\t")}\n`;
}

/** The first line of a CSV or TSV. */
export function titleLine(titles: readonly string[], form: "csv" | "tsv"): string {
  return form === "csv" ? `${titles.map(csvCell).join(",")}\r\n` : `${titles.join("\t")}\n`;
}

const isItem = (value: unknown): value is Item =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** `key: value` lines; objects and lists of objects are indented below their key. */
export function details(item: Item, indent = ""): string {
  let out = "";
  for (const [key, value] of Object.entries(item)) {
    const name = `${indent}${clean(key)}`;
    if (Array.isArray(value) && value.some(isItem)) {
      const entry = key === "history" ? attempt : entryLines;
      out += `${name}:\n${value.map((each) => entry(each, `${indent}  `)).join("")}`;
    } else if (isItem(value)) out += `${name}:\n${details(value, `${indent}  `)}`;
    else out += `${name}: ${clean(Array.isArray(value) ? value.map(flat).join(", ") : str(value))}\n`;
  }
  return out;
}

/** A value inside a list: lists in lists are put in brackets. */
const flat = (value: unknown): string =>
  Array.isArray(value) ? `[${value.map(flat).join(", ")}]` : str(value);

/** Entries of a list with no more members than these, none of them an object, are one line. */
const SHORT_ENTRY = 4;

/** One entry of a list, after a `- `. */
function entryLines(value: unknown, indent: string): string {
  if (!isItem(value)) return `${indent}- ${clean(flat(value))}\n`;
  const members = Object.entries(value);
  const isShort =
    members.length <= SHORT_ENTRY &&
    members.every(([, inner]) => typeof inner !== "object" || inner === null);
  if (isShort)
    return `${indent}- ${members.map(([key, inner]) => `${clean(key)}: ${clean(str(inner))}`).join(", ")}\n`;
  return `${indent}- ${details(value, `${indent}  `).slice(indent.length + 2)}`;
}

/** One attempt of a delivery: time, host, result, reply. */
function attempt(value: unknown, indent: string): string {
  const { at, mx, ip, result, text } = value as Item;
  return `${indent}${[at, mx ?? ip ?? "-", result, text].map((each) => clean(str(each))).join("  ")}\n`;
}
