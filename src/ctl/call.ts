/** What the commands of mailreportctl have in common: options as queries, lists, details. */
import { EXIT } from "../lib/exit.ts";
import { clean } from "../lib/text.ts";
import { parseOutgoingId } from "../model/outgoing.ts";
import { type Client, ClientError } from "./client.ts";
import type { Command } from "./commands.ts";
import { type Parsed, UsageError } from "./grammar.ts";
import {
  type Column,
  csvLine,
  details,
  type Form,
  type Item,
  plainLine,
  Table,
  titleLine,
  tsvLine,
} from "./render.ts";
import type { FileTools } from "./run/import.ts";
import { readTime } from "./times.ts";

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

const TIMES: Readonly<Record<string, string>> = {
  since: "since",
  until: "until",
  before: "due_before",
  "due-after": "due_after",
};
/** Since when is asked about the past; when something is due, a span needs its sign. */
const bareOf = (name: string): "ago" | undefined =>
  name === "since" || name === "until" ? "ago" : undefined;
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
    if (name in TIMES) params.set(TIMES[name]!, String(readTime(value, around.now, bareOf(name))));
    else if (name in RENAMED) {
      const renamed = RENAMED[name]!(parsed.command);
      if (renamed !== "") params.set(renamed, value);
    } else if (PASSED.includes(name)) params.set(name, value);
  }
  for (const [name, value] of Object.entries(more)) if (value !== undefined) params.set(name, value);
  const [since, until] = [params.get("since"), params.get("until")];
  if (since !== null && until !== null && Number(since) >= Number(until))
    throw new UsageError("the window is empty: --until is not after --since");
  return params;
}

export const withQuery = (path: string, params: URLSearchParams): string =>
  params.size > 0 ? `${path}?${params}` : path;

/** Prints a list in the wanted form, as it comes. */
export async function list(
  call: Call,
  path: string,
  human: readonly Column[],
  plain: readonly Column[] = human,
): Promise<number> {
  const { client, form, around } = call;
  const table = new Table(human, around.columns, (text) => around.out(text));
  const titles = plain.map((c) => c.title.toLowerCase());
  if (form === "csv" || form === "tsv") around.out(titleLine(titles, form));
  const print: Readonly<Record<Form, (item: Item) => void>> = {
    json: (item) => around.out(`${JSON.stringify(item)}\n`),
    plain: (item) => around.out(plainLine(plain, item)),
    csv: (item) => around.out(csvLine(plain, item)),
    tsv: (item) => around.out(tsvLine(plain, item)),
    table: (item) => table.add(item),
  };
  const end = await client.list(path, print[form]);
  if (form === "json") around.out(`${JSON.stringify({ end })}\n`);
  if (form === "table") {
    table.end();
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
