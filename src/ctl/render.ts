/** Output: tables for people, fields for programs, JSON for both. All outside text is escaped on every text form. */
import { clean } from "../lib/text.ts";
import { formatDuration } from "../lib/units.ts";

export type Form = "table" | "plain" | "json" | "csv" | "tsv";

export interface Terminal {
  readonly isTTY: boolean;
  readonly columns: number;
  /** Epoch milliseconds. */
  readonly now: number;
  write(text: string): void;
}

/** One column: its title, its text for people, and for programs where that differs. */
export interface Column {
  readonly title: string;
  readonly text: (item: Item) => string;
  readonly plain?: (item: Item) => string;
  readonly right?: boolean;
}

export type Item = Readonly<Record<string, unknown>>;

export const str = (value: unknown): string => (value === null || value === undefined ? "" : String(value));

/** RFC 3339 → epoch seconds, as text; "" for null. */
export const epoch = (value: unknown): string =>
  typeof value === "string" ? String(Math.floor(Date.parse(value) / 1000)) : "";

/** "in 5m", "3h ago". */
export function relative(value: unknown, now: number): string {
  if (typeof value !== "string") return "-";
  const ms = Date.parse(value) - now;
  const text = formatDuration(Math.abs(ms)).replace(/^(\d+[dhm])\d+[hms]$/, "$1");
  return ms >= 0 ? `in ${text}` : `${text} ago`;
}

export const day = (value: unknown): string => str(value).slice(0, 10);

export const thousands = (value: unknown): string => str(value).replace(/\B(?=(\d{3})+$)/g, ",");

/** A table fitted to the terminal: the widest columns are cut in the middle. */
export function table(columns: readonly Column[], items: readonly Item[], width: number): string {
  const cells = items.map((item) => columns.map((c) => clean(c.text(item))));
  const widths = columns.map((c, i) => Math.max(c.title.length, ...cells.map((row) => row[i]!.length)));
  let over = widths.reduce((sum, w) => sum + w + 2, -2) - width;
  while (over > 0) {
    const widest = widths.indexOf(Math.max(...widths));
    if (widths[widest]! <= 12) break;
    const cut = Math.min(over, widths[widest]! - 12);
    const step = Math.max(1, Math.min(cut, 4));
    widths[widest]! -= step;
    over -= step;
  }
  const line = (row: readonly string[]): string =>
    row
      .map((text, i) =>
        columns[i]!.right
          ? shorten(text, widths[i]!).padStart(widths[i]!)
          : shorten(text, widths[i]!).padEnd(widths[i]!),
      )
      .join("  ")
      .trimEnd();
  return [line(columns.map((c) => c.title)), ...cells.map(line)].map((l) => `${l}\n`).join("");
}

/** Cuts in the middle. */
function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  const left = Math.ceil((width - 1) / 2);
  return `${text.slice(0, left)}…${text.slice(text.length - (width - 1 - left))}`;
}

/** smtpctl's `|` fields. A `|` or line end inside a field is escaped. */
export function plainLine(columns: readonly Column[], item: Item): string {
  return `${columns.map((c) => clean((c.plain ?? c.text)(item)).replace(/\|/g, "\\u{7c}")).join("|")}\n`;
}

/** Quoted where needed; what a spreadsheet would run as a formula is marked as text. */
export function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(?:\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

export function csvLine(columns: readonly Column[], item: Item): string {
  return `${columns.map((c) => csvCell(clean((c.plain ?? c.text)(item)))).join(",")}\r\n`;
}

/** Tabs and line ends cannot stand in a field: they are escaped like all control characters. */
export function tsvLine(columns: readonly Column[], item: Item): string {
  return `${columns.map((c) => clean((c.plain ?? c.text)(item))).join("\t")}\n`;
}

/** `key: value` lines, nested objects indented. */
export function details(item: Item, indent = ""): string {
  let out = "";
  for (const [key, value] of Object.entries(item)) {
    const name = `${indent}${clean(key)}`;
    if (Array.isArray(value) && value.some((v) => typeof v === "object" && v !== null)) {
      out += `${name}:\n`;
      for (const entry of value) out += `${indent}  - ${clean(JSON.stringify(entry))}\n`;
    } else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      out += `${name}:\n${details(value as Item, `${indent}  `)}`;
    } else out += `${name}: ${clean(Array.isArray(value) ? value.join(", ") : str(value))}\n`;
  }
  return out;
}
