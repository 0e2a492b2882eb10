/** What the commands of mailreportctl have in common: options as queries, lists, details, questions. */
import { EXIT } from "../lib/exit.ts";
import { clean } from "../lib/text.ts";
import type { Filter } from "../model/lists/filter.ts";
import type { List } from "../model/lists/list.ts";
import { parseOutgoingId } from "../model/outgoing.ts";
import type { WireFile } from "../model/wire-report.ts";
import { type Client, ClientError } from "./client.ts";
import type { Command } from "./commands.ts";
import type { FoundPiece, Split } from "./files.ts";
import { type OptionSpec, type Parsed, UsageError } from "./grammar.ts";
import {
  type Column,
  csvLine,
  details,
  type Form,
  type Item,
  plainLine,
  str,
  Table,
  titleLine,
  tsvLine,
} from "./render.ts";
import { readTime } from "./times.ts";

/** What the program hands in, so that this part knows no formats. */
export interface FileTools {
  /** Parses one file, or one member of a collection, and stores nothing. */
  check(piece: FoundPiece): WireFile;
  readonly split: Split;
}

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
  /** Parsers of files, loaded only when needed. */
  readonly files: () => Promise<FileTools>;
  /** Asks the person at the terminal; null without one. Rejects with Interrupted. */
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

/** As the daemon has it. */
const LARGEST_LIMIT = 10_000_000;

/** The value of --limit. Throws UsageError. */
function limitOf(text: string): string {
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit <= LARGEST_LIMIT) return String(limit);
  throw new UsageError(`--limit: not a number from 1 to ${LARGEST_LIMIT}: ${text}`);
}

/**
 * Options as query parameters.
 * @param options those of the command, or of the list that it shows
 */
export function query(
  { parsed, around }: Call,
  more: Readonly<Record<string, string | undefined>> = {},
  options: readonly OptionSpec[] = parsed.command.options ?? [],
): URLSearchParams {
  const params = new URLSearchParams();
  for (const { name, filter } of options) {
    const value = parsed.options[name];
    if (value === undefined) continue;
    if (filter !== undefined) params.set(filter.name, parameter(filter.type, value, around.now));
    else if (name === "limit") params.set(name, limitOf(String(value)));
  }
  for (const [name, value] of Object.entries(more)) if (value !== undefined) params.set(name, value);
  const [since, until] = [params.get("since"), params.get("until")];
  if (since !== null && until !== null && Number(since) >= Number(until))
    throw new UsageError("the window is empty: --until is not after --since");
  return params;
}

/** The query of a list, as `query`. Throws UsageError for a cursor of another list, too. */
export function listQuery(
  call: Call,
  { cursor }: List,
  more: Readonly<Record<string, string | undefined>> = {},
  options?: readonly OptionSpec[],
): URLSearchParams {
  const params = query(call, more, options);
  const after = params.get("after");
  if (after !== null && !cursor.test(after))
    throw new UsageError(`--after: not a cursor of this list: ${after}`);
  return params;
}

/** The member of a body that says why something is changed; none without --reason. */
export const reasonOf = ({ parsed: { options } }: Call): { readonly reason?: string } =>
  options.reason ? { reason: str(options.reason) } : {};

/** The value of an option as the daemon takes it. Throws UsageError. */
function parameter(type: Filter["type"], value: string | true, now: number): string {
  if (value === true) return "true";
  if (type === "time") return String(readTime(value, now));
  // it is about the past, so that a span needs no sign
  return type === "past" ? String(readTime(value, now, "ago")) : value;
}

export const withQuery = (path: string, params: URLSearchParams): string =>
  params.size > 0 ? `${path}?${params}` : path;

/** Prints a list in the wanted form, as it arrives. */
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
    around.err(
      end.next === null ? `${end.count} found.\n` : `${end.count} shown; more: --after ${end.next}\n`,
    );
  } else if (end.next !== null && form !== "json") around.err(`more: --after ${end.next}\n`);
  return EXIT.OK;
}

export function show({ form, around }: Call, item: Item): void {
  around.out(form === "json" ? `${JSON.stringify(item)}\n` : details(item));
}

/** Does something for each id; one that fails is reported, the others go on. */
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

/**
 * Asks before something is destroyed, unless --yes was given.
 * @param what what would happen, e.g. `12 rows would be deleted`
 * @param answer what must be typed to go on
 * Throws UsageError without a terminal.
 */
export async function confirmed({ around, parsed }: Call, what: string, answer: string): Promise<boolean> {
  if (parsed.options.yes) return true;
  const typed = await around.confirm(`${what}. Type ${answer} to go on: `);
  if (typed === null) throw new UsageError(`${what}; say --yes`);
  if (typed.trim() === answer) return true;
  around.err("mailreportctl: nothing was changed\n");
  return false;
}

export const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
export const isOutgoingId = (id: string): boolean => parseOutgoingId(id) !== undefined;
