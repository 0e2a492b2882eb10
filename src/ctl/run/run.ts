/** mailreportctl: carries out one command and returns the exit code. */
import { errorText } from "../../lib/errors.ts";
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { type Handler, plural, type Surroundings } from "../call.ts";
import { ClientError, makeClient, socketPath } from "../client.ts";
import { COMMANDS, type Command } from "../commands.ts";
import {
  GLOBAL_OPTIONS,
  type OptionSpec,
  optionsOf,
  type Parsed,
  parse,
  resolve,
  UsageError,
  usage,
} from "../grammar.ts";
import { Interrupted } from "../prompt.ts";
import { type Form, str } from "../render.ts";
import { ARCHIVE_HANDLERS } from "./archive.ts";
import { DAEMON_HANDLERS } from "./daemon.ts";
import { JOB_HANDLERS } from "./jobs.ts";
import { OUTGOING_HANDLERS } from "./outgoing.ts";
import { QUEUE_HANDLERS } from "./queue.ts";
import { SUPPRESS_HANDLERS } from "./suppress.ts";

/** What carries out each command, by its `run`. */
export const HANDLERS: Readonly<Record<string, Handler>> = {
  ...QUEUE_HANDLERS,
  ...OUTGOING_HANDLERS,
  ...SUPPRESS_HANDLERS,
  ...ARCHIVE_HANDLERS,
  ...DAEMON_HANDLERS,
  ...JOB_HANDLERS,
  async help({ parsed, around }) {
    around.out(help(parsed.operands));
    return EXIT.OK;
  },
};

/** Runs one command; returns the exit code. Never throws: errors are printed, one line each. */
export async function run(around: Surroundings): Promise<number> {
  let note = "";
  try {
    if (around.args[0] === "--version") {
      around.out(`mailreportctl ${around.version}\n`);
      return EXIT.OK;
    }
    if (around.args.length === 0 || ["--help", "-h"].includes(around.args[0]!)) {
      (around.args.length === 0 ? around.err : around.out)(help([]));
      return around.args.length === 0 ? EXIT.USAGE : EXIT.OK;
    }
    const parsed = parse(COMMANDS, around.args);
    if (parsed.options.help) {
      around.out(help(parsed.command.words));
      return EXIT.OK;
    }
    const socket = socketPath(str(parsed.options.socket) || undefined, around.environment);
    const waits = parsed.options.wait === true;
    const client = makeClient(socket, (mails, parsing) => {
      note = unparsedNote(mails, parsing, waits);
    });
    const exit = await HANDLERS[parsed.command.run]!({
      parsed,
      client,
      form: formOf(parsed, around),
      around,
    });
    return note !== "" && waits && exit <= EXIT.NOTHING ? EXIT.TEMPFAIL : exit;
  } catch (error) {
    return failed(error, around);
  } finally {
    if (note !== "") around.err(note);
  }
}

const NOT_PARSING: Readonly<Record<string, string>> = {
  paused: "parsing is paused (resume mda)",
  failing: "parsing fails (see the log)",
};

/** The line about accepted mails that the answer lacks. `waits`: --wait was given, and they are not parsed even so. */
function unparsedNote(mails: number, parsing: unknown, waits: boolean): string {
  const what = `${plural(mails, "accepted mail")} ${mails === 1 ? "is" : "are"} not parsed yet`;
  const advice = NOT_PARSING[str(parsing)] ?? (waits ? "" : "use --wait");
  return `note: ${what}; figures are incomplete${advice === "" ? "" : `; ${advice}`}\n`;
}

/** Prints why a command was not carried out; returns the exit code. */
function failed(error: unknown, around: Surroundings): number {
  if (error instanceof UsageError) {
    for (const [i, line] of error.lines.entries())
      around.err(`${i === 0 && !line.startsWith("possibilities") ? "mailreportctl: " : ""}${clean(line)}\n`);
    return EXIT.USAGE;
  }
  if (error instanceof ClientError) {
    for (const line of error.message.split("\n")) around.err(`mailreportctl: ${clean(line)}\n`);
    return error.exit;
  }
  if (error instanceof Interrupted) {
    around.err("\nmailreportctl: interrupted; nothing was changed\n");
    return EXIT.INTERRUPTED;
  }
  around.err(unexpected(error));
  return EXIT.SOFTWARE;
}

/** The line for an unexpected error. */
export function unexpected(error: unknown): string {
  return `mailreportctl: unexpected error; this is a bug: ${clean(errorText(error))}\n`;
}

const FORMS = ["json", "csv", "tsv", "plain"] as const;

/** The form of the output. Throws UsageError when several are asked for. */
function formOf({ options }: Parsed<Command>, { stdoutIsTTY }: Surroundings): Form {
  const asked = FORMS.filter((form) => options[form]);
  if (asked.length > 1)
    throw new UsageError(`only one of ${asked.map((form) => `--${form}`).join(" and ")} is possible`);
  return asked[0] ?? (stdoutIsTTY ? "table" : "plain");
}

/** Help for all commands, or those that begin with the words. */
function help(words: readonly string[]): string {
  const { matching } = resolve(COMMANDS, words);
  const one = matching.length === 1 ? matching[0] : undefined;
  const own = one === undefined ? [] : optionsOf(one);
  const named = (o: OptionSpec): string =>
    `${o.short ? `-${o.short}, ` : ""}--${o.name}${o.value ? ` ${o.value}` : ""}`;
  const left = [...(one === undefined ? matching.map(usage) : []), ...[...own, ...GLOBAL_OPTIONS].map(named)];
  const width = Math.min(44, Math.max(...left.map((text) => text.length)));
  const line = (text: string, about: string): string => `  ${text.padEnd(width)}  ${about}\n`;
  const option = (o: OptionSpec): string => line(named(o), o.help);
  let out = `usage: mailreportctl [options] ${one === undefined ? "command" : usage(one)}\n\n`;
  if (one === undefined) for (const c of matching) out += line(usage(c), c.help);
  else out += `${[one.help, ...(one.notes ?? [])].join("\n")}\n`;
  if (own.length > 0) out += `\noptions:\n${own.map(option).join("")}`;
  out += `\noptions of all commands:\n${GLOBAL_OPTIONS.map(option).join("")}`;
  const examples = matching.flatMap((c) => c.examples ?? []);
  if (examples.length > 0) out += `\nexamples:\n${examples.map((e) => `  ${e}\n`).join("")}`;
  return out;
}
