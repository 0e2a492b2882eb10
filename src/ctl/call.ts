/** What the commands of mailreportctl have in common: options as queries, lists, details. */
import { EXIT } from "../lib/exit.ts";
import { clean } from "../lib/text.ts";
import { parseDuration } from "../lib/units.ts";
import { parseOutgoingId } from "../model/outgoing.ts";
import { type Client, ClientError } from "./client.ts";
import type { Command } from "./commands.ts";
import { type Parsed, UsageError } from "./grammar.ts";
import type { FileTools } from "./import.ts";
import { type Column, csvLine, details, type Form, type Item, plainLine, table, tsvLine } from "./render.ts";

export interface Surroundings {
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly stdoutIsTTY: boolean;
  readonly columns: number;
  /** Epoch milliseconds. */
  readonly now: number;
  out(text: string): void;
  /** Writes bytes as they are. */
  outBytes(bytes: Uint8Array): void;
  err(text: string): void;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Readers of files, loaded only when needed. */
  readonly files: () => Promise<FileTools>;
  /** Asks a person; null when there is none. */
  readonly confirm: (question: string) => Promise<string | null>;
  readonly version: string;
}

/** One command to carry out. */
export interface Call {
  readonly parsed: Parsed<Command>;
  readonly client: Client;
  readonly form: Form;
  readonly around: Surroundings;
}

/** Carries out one command; returns the exit code. */
export type Handler = (call: Call) => Promise<number>;

/** RFC 3339, a day, now, -2h, +30m, @epoch → epoch seconds. */
export function readTime(text: string, now: number): number {
  const relative = /^([+-])(.+)$/.exec(text);
  if (text === "now") return Math.floor(now / 1000);
  if (/^@\d{1,11}$/.test(text)) return Number(text.slice(1));
  if (relative) {
    const ms = parseDuration(relative[2]!);
    if (ms !== undefined) return Math.floor((now + (relative[1] === "-" ? -ms : ms)) / 1000);
  }
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms))
    throw new UsageError(`not a time: ${text} (e.g. 2026-11-20, -7d, +30m, now, @1795132800)`);
  return Math.floor(ms / 1000);
}

const TIMES: Readonly<Record<string, string>> = {
  since: "since",
  until: "until",
  before: "due_before",
  "due-after": "due_after",
};
/** Options whose parameter has another name, or none: Stalwart's format is our kind, a mail's state its outcome. */
const RENAMED: Readonly<Record<string, (command: Command) => string>> = {
  format: ({ run }) => (run === "export" ? "" : "kind"),
  state: ({ options = [] }) => (options.some((o) => o.name === "outcome") ? "outcome" : "state"),
};
const PASSED = [
  "kind",
  "domain",
  "rcpt",
  "sender",
  "error",
  "org",
  "source",
  "result",
  "warning",
  "outcome",
  "reason",
  "limit",
  "after",
];

/** Options as query parameters. */
export function query(
  { parsed, around }: Call,
  more: Readonly<Record<string, string | undefined>> = {},
): URLSearchParams {
  const params = new URLSearchParams();
  const known = new Set((parsed.command.options ?? []).map((o) => o.name));
  for (const [name, value] of Object.entries(parsed.options)) {
    if (name === "all" && value === true && known.has(name)) params.set("all", "true");
    if (value === true || !known.has(name)) continue;
    if (name in TIMES) params.set(TIMES[name]!, String(readTime(value, around.now)));
    else if (name in RENAMED) {
      const renamed = RENAMED[name]!(parsed.command);
      if (renamed !== "") params.set(renamed, value);
    } else if (PASSED.includes(name)) params.set(name, value);
  }
  for (const [name, value] of Object.entries(more)) if (value !== undefined) params.set(name, value);
  return params;
}

export const withQuery = (path: string, params: URLSearchParams): string =>
  params.size > 0 ? `${path}?${params}` : path;

/** Prints a list in the wanted form. Tables are gathered, for their widths; the other forms flow. */
export async function list(
  call: Call,
  path: string,
  human: readonly Column[],
  plain: readonly Column[] = human,
): Promise<number> {
  const { client, form, around } = call;
  const items: Item[] = [];
  const titles = plain.map((c) => c.title.toLowerCase());
  if (form === "csv") around.out(`${titles.join(",")}\r\n`);
  if (form === "tsv") around.out(`${titles.join("\t")}\n`);
  const end = await client.list(path, (item) => {
    if (form === "json") around.out(`${JSON.stringify(item)}\n`);
    else if (form === "plain") around.out(plainLine(plain, item));
    else if (form === "csv") around.out(csvLine(plain, item));
    else if (form === "tsv") around.out(tsvLine(plain, item));
    else items.push(item);
  });
  if (form === "json") around.out(`${JSON.stringify({ end })}\n`);
  if (form === "table") {
    around.out(items.length > 0 ? table(human, items, around.columns) : "");
    around.err(`${end.count} found.\n`);
  }
  if (end.next !== null && form !== "json") around.err(`more: --after ${end.next}\n`);
  return EXIT.OK;
}

export function show({ form, around }: Call, item: Item): void {
  around.out(form === "json" ? `${JSON.stringify(item)}\n` : details(item));
}

/** Does something for each id; what fails is told, the others go on. */
export async function each(
  ids: readonly string[],
  around: Surroundings,
  work: (id: string) => Promise<void>,
): Promise<number> {
  let exit: number = EXIT.OK;
  for (const id of ids) {
    try {
      await work(id);
    } catch (error) {
      if (!(error instanceof ClientError) || error.exit !== EXIT.NOTHING) throw error;
      around.err(`mailreportctl: ${clean(error.message)}\n`);
      exit = EXIT.NOTHING;
    }
  }
  return exit;
}

export const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
export const isOutgoingId = (id: string): boolean => parseOutgoingId(id) !== undefined;
