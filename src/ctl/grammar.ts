/**
 * The word grammar of smtpctl: a command is words, each of which may be shortened while it stays unique. The words of
 * smtpctl come first, so that nothing that was added changes what its abbreviations mean. Values are never abbreviated.
 */
import { nearest } from "../lib/text.ts";
import type { Filter } from "../model/lists/filter.ts";

export interface OptionSpec {
  readonly name: string;
  readonly short?: string;
  /** Name of the value; a flag when absent. */
  readonly value?: string;
  /** All the words that the value may be. */
  readonly values?: readonly string[];
  readonly help: string;
  /** The filter of a list that it sets: the query parameter, and how its value is typed. */
  readonly filter?: { readonly name: string; readonly type: Filter["type"] };
}

export interface CommandSpec {
  /** e.g. ["show", "queue"]. */
  readonly words: readonly string[];
  /** Of smtpctl itself: its abbreviations win. */
  readonly classic?: boolean;
  /** Shown after the words, e.g. `[ID]`, `FILE...`. */
  readonly operands?: string;
  readonly least?: number;
  readonly most?: number;
  readonly options?: readonly OptionSpec[];
  /** Honours --dry-run: changes nothing and shows what would change. Without this --dry-run is refused. */
  readonly dryRun?: boolean;
  readonly help: string;
  /** Further sentences, for the help of this command and the manual. */
  readonly notes?: readonly string[];
  readonly examples?: readonly string[];
}

export interface Parsed<C extends CommandSpec> {
  readonly command: C;
  readonly operands: readonly string[];
  readonly options: Readonly<Record<string, string | true>>;
}

/** What the user got wrong; the program exits with 64. */
export class UsageError extends Error {
  readonly lines: readonly string[];

  constructor(...lines: string[]) {
    super(lines[0]);
    this.name = "UsageError";
    this.lines = lines;
  }
}

export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { name: "socket", short: "S", value: "PATH", help: "control socket (or MAILREPORTCTL_SOCKET)" },
  { name: "json", help: "JSON, one object a line" },
  { name: "plain", help: "fields for programs, as in a pipe" },
  { name: "csv", help: "comma-separated values" },
  { name: "tsv", help: "tab-separated values" },
  { name: "yes", short: "y", help: "do not ask" },
  { name: "reason", value: "TEXT", help: "why, for the audit log" },
  { name: "help", short: "h", help: "help for the command" },
];

/** Accepted by the commands that honour it; all others refuse it. */
const DRY_RUN: OptionSpec = { name: "dry-run", short: "n", help: "change nothing, show what would change" };

/** The options of one command, beside the global ones. */
export function optionsOf({ options = [], dryRun = false }: CommandSpec): readonly OptionSpec[] {
  return dryRun ? [...options, DRY_RUN] : options;
}

/** The commands whose words begin with the given ones, abbreviated or not. */
export function resolve<C extends CommandSpec>(
  commands: readonly C[],
  words: readonly string[],
): { readonly matching: readonly C[]; readonly used: number } {
  let matching = commands;
  let used = 0;
  for (const word of words) {
    const at = matching.filter((c) => c.words.length > used);
    if (at.length === 0) break;
    const exact = at.filter((c) => c.words[used] === word);
    const next = exact.length > 0 ? exact : abbreviated(at, used, word);
    if (next.length === 0) {
      // this word may be an operand of a shorter command
      const ended = matching.filter((c) => c.words.length === used && (c.most ?? 0) > 0);
      if (ended.length > 0) return { matching: ended, used };
      const known = [...new Set(at.map((c) => c.words[used]!))];
      const near = nearest(word, known);
      const possible = known.filter((w) => w.startsWith(word));
      const prefix = at[0]!.words.slice(0, used).join(" ");
      if (possible.length > 1) {
        throw new UsageError(
          `ambiguous command: ${[prefix, word].filter(Boolean).join(" ")}`,
          "possibilities are:",
          ...possible.map((w) => [prefix, w].filter(Boolean).join(" ")),
        );
      }
      throw new UsageError(
        `unknown command: ${[prefix, word].filter(Boolean).join(" ")}${near === undefined ? "" : `; did you mean "${near}"?`}`,
        "possibilities are:",
        ...known.map((w) => [prefix, w].filter(Boolean).join(" ")),
        "see: mailreportctl help",
      );
    }
    matching = next;
    used++;
  }
  return { matching, used };
}

/** Commands that one word at this place abbreviates, if it is unique there: smtpctl's words first. */
function abbreviated<C extends CommandSpec>(commands: readonly C[], at: number, word: string): C[] {
  if (word === "") return [];
  for (const tier of [commands.filter((c) => c.classic), commands]) {
    const found = [...new Set(tier.map((c) => c.words[at]!).filter((w) => w.startsWith(word)))];
    if (found.length === 1) return commands.filter((c) => c.words[at] === found[0]);
    if (found.length > 1) return [];
  }
  return [];
}

/**
 * Splits arguments into words and options; `--` ends the options. Negative numbers and times are values.
 * @param unknown an option that is none of `specs` is refused, or skipped as a flag
 */
export function splitOptions(
  args: readonly string[],
  specs: readonly OptionSpec[],
  unknown: "refuse" | "pass" = "refuse",
): { words: string[]; options: Record<string, string | true> } {
  const words: string[] = [];
  const options: Record<string, string | true> = {};
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") {
      words.push(...args.slice(i + 1));
      break;
    }
    if (!arg.startsWith("-") || arg === "-" || /^-\d/.test(arg)) {
      words.push(arg);
      continue;
    }
    const [name, inline] = arg.startsWith("--")
      ? splitAt(arg.slice(2))
      : [arg.slice(1, 2), arg.length > 2 ? arg.slice(2) : undefined];
    const spec = specs.find((s) => (arg.startsWith("--") ? s.name === name : s.short === name));
    if (!spec) {
      if (unknown === "pass") continue;
      const names = arg.startsWith("--") ? specs.map((s) => s.name) : [];
      const near = nearest(name, names); // every letter is near to another one
      throw new UsageError(
        `unknown option: ${arg.startsWith("--") ? "--" : "-"}${name}${near === undefined ? "" : `; did you mean "--${near}"?`}`,
        "possibilities are:",
        ...specs.map((s) => `--${s.name}${s.value === undefined ? "" : ` ${s.value}`}`),
      );
    }
    if (spec.value === undefined) {
      if (inline !== undefined) throw new UsageError(`--${spec.name} takes no value`);
      options[spec.name] = true;
      continue;
    }
    const value = inline ?? args[++i];
    if (value === undefined) throw new UsageError(`--${spec.name} needs ${spec.value}`);
    options[spec.name] = knownValue(spec, value);
  }
  return { words, options };
}

/** The value, if the option takes it. Throws UsageError. */
export function knownValue({ name, values }: OptionSpec, value: string): string {
  if (!values || values.includes(value)) return value;
  const near = nearest(value, values);
  throw new UsageError(
    `--${name} cannot be ${value}${near === undefined ? "" : `; did you mean "${near}"?`}`,
    "possibilities are:",
    ...values,
  );
}

function splitAt(text: string): [string, string | undefined] {
  const equals = text.indexOf("=");
  return equals < 0 ? [text, undefined] : [text.slice(0, equals), text.slice(equals + 1)];
}

/** Finds the command and checks its operands. Throws UsageError. */
export function parse<C extends CommandSpec>(commands: readonly C[], args: readonly string[]): Parsed<C> {
  const all = unique([...GLOBAL_OPTIONS, DRY_RUN, ...commands.flatMap((c) => c.options ?? [])]);
  // the options depend on the command, which must be found first
  const { words, options: given } = splitOptions(args, all, "pass");
  const { matching, used } = resolve(commands, words);
  const whole = matching.filter((c) => c.words.length === used);
  const command = whole[0];
  if (!command) {
    refuseUnknown(args, all);
    throw new UsageError("possibilities are:", ...[...new Set(matching.map((c) => usage(c)))]);
  }
  if (given["dry-run"] && !command.dryRun && !given.help)
    throw new UsageError(`--dry-run has no meaning for: ${command.words.join(" ")}`);
  const { options, words: again } = splitOptions(args, [...optionsOf(command), ...GLOBAL_OPTIONS]);
  const operands = again.slice(used);
  if (options.help) return { command, operands, options };
  if (operands.length < (command.least ?? 0)) throw new UsageError(`usage: mailreportctl ${usage(command)}`);
  if (operands.length > (command.most ?? 0))
    throw new UsageError(
      `invalid command: too many words: ${operands.slice(command.most ?? 0).join(" ")}`,
      `usage: mailreportctl ${usage(command)}`,
    );
  return { command, operands, options };
}

/** Names an option that no command has. Throws UsageError. */
function refuseUnknown(args: readonly string[], specs: readonly OptionSpec[]): void {
  try {
    splitOptions(args, specs);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(error.lines[0]!, "see: mailreportctl help");
    throw error;
  }
}

/** One spec for each name; a short letter may differ between commands, so the first that takes a value wins. */
function unique(specs: readonly OptionSpec[]): OptionSpec[] {
  const byName = new Map<string, OptionSpec>();
  for (const { values: _values, ...spec } of specs)
    if (!byName.has(spec.name) || spec.value !== undefined) byName.set(spec.name, spec);
  return [...byName.values()];
}

export function usage(command: CommandSpec): string {
  return [...command.words, ...(command.operands ? [command.operands] : [])].join(" ");
}
