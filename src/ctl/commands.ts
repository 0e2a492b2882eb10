/** Every command of mailreportctl, once: words, operands, options, help. Help and completion derive from it. */
import { JOB_TABLE } from "../model/jobs.ts";
import type { List, ListCommand } from "../model/lists/list.ts";
import { EXPORTS, LISTS } from "../model/lists/lists.ts";
import { SUBSYSTEM_TABLE, SUBSYSTEMS, type SubsystemAbout } from "../model/subsystems.ts";
import type { CommandSpec } from "./grammar.ts";
import { envelopes, exportOptions, listOptions, option, outcomes, time, WAIT } from "./options.ts";

export interface Command extends CommandSpec {
  /** What carries it out (run.ts). */
  readonly run: string;
  /** The list that it shows. */
  readonly list?: { readonly name: string } & Pick<ListCommand, "operand" | "instead">;
}

/** The commands of a list. */
function commandsOf(list: List): Command[] {
  return list.commands.map(({ words, classic, operand, instead, examples }) => ({
    run: "list",
    list: {
      name: list.name,
      ...(operand === undefined ? {} : { operand }),
      ...(instead === undefined ? {} : { instead }),
    },
    words,
    ...(classic ? { classic } : {}),
    ...(operand === undefined ? {} : { operands: operand.name, most: 1 }),
    options: listOptions(list, instead ? [{ name: instead.option, help: instead.help }] : []),
    help: list.help,
    ...(examples === undefined ? {} : { examples }),
  }));
}

const LIST_COMMANDS = LISTS.flatMap(commandsOf);

/** The commands of lists stand before the others that begin with the same word. */
function withLists(others: readonly Command[]): Command[] {
  const first = (word: string) => LIST_COMMANDS.filter((command) => command.words[0] === word);
  const known = new Set<string>();
  const commands = others.flatMap((command) => {
    const word = command.words[0]!;
    if (known.has(word)) return [command];
    known.add(word);
    return [...first(word), command];
  });
  return [...commands, ...LIST_COMMANDS.filter(({ words }) => !known.has(words[0]!))];
}

export const COMMANDS: readonly Command[] = withLists([
  {
    run: "envelope",
    words: ["show", "envelope"],
    classic: true,
    operands: "ENVELOPE...",
    least: 1,
    most: 100,
    help: "everything about an envelope",
  },
  {
    run: "message",
    words: ["show", "message"],
    classic: true,
    operands: "MESSAGE|ENVELOPE",
    least: 1,
    most: 1,
    help: "the message as it is sent",
  },
  {
    run: "hosts",
    words: ["show", "mta", "paused"],
    classic: true,
    help: "destinations whose delivery is paused",
  },
  {
    run: "stats",
    words: ["show", "stats"],
    classic: true,
    operands: "[NAME]",
    most: 1,
    options: [WAIT],
    help: "counters",
  },
  { run: "status", words: ["show", "status"], classic: true, help: "what runs and what is paused" },
  {
    run: "report",
    words: ["show", "report"],
    operands: "ID",
    least: 1,
    most: 1,
    options: [
      { name: "raw", help: "the mail or message it is in" },
      { name: "rows", help: "its rows" },
      WAIT,
    ],
    help: "one report: received (r42) or outgoing (d!…, t!…)",
  },
  {
    run: "mail",
    words: ["show", "mail"],
    operands: "MAIL",
    least: 1,
    most: 1,
    options: [{ name: "raw", help: "its bytes" }, WAIT],
    help: "one accepted mail (m42)",
  },
  {
    run: "schedule",
    words: ["schedule"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: [...envelopes, time],
    dryRun: true,
    help: "deliver now, or at a time",
  },
  {
    run: "remove",
    words: ["remove"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "remove envelopes, or cancel outgoing reports",
  },
  {
    run: "undelete",
    words: ["undelete"],
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "bring back removed envelopes, while they are kept (deliver.keep_settled)",
    examples: ["mailreportctl undelete 3628aa4b", "mailreportctl undelete -d example.net"],
  },
  {
    run: "requeue",
    words: ["requeue"],
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "send failed or expired envelopes again, with a new lifetime (deliver.expire)",
    examples: ["mailreportctl requeue 3628aa4b97c04ff6", "mailreportctl requeue --rcpt @example.net"],
  },
  {
    run: "hold",
    words: ["hold"],
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "hold envelopes or outgoing reports",
  },
  {
    run: "release",
    words: ["release"],
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "release held envelopes or outgoing reports",
  },
  {
    run: "hold",
    words: ["pause", "envelope"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "hold envelopes",
  },
  {
    run: "release",
    words: ["resume", "envelope"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "release held envelopes",
  },
  ...SUBSYSTEMS.flatMap((subsystem) => {
    const { help, classic, destinations }: SubsystemAbout = SUBSYSTEM_TABLE[subsystem];
    return (["pause", "resume"] as const).map(
      (action): Command => ({
        run: action,
        words: [action, subsystem],
        ...(classic ? { classic } : {}),
        dryRun: true,
        ...(destinations ? { operands: "[for DOMAIN]", most: 2 } : {}),
        help: help[action],
      }),
    );
  }),
  {
    run: "reportStatus",
    words: ["report", "status"],
    operands: "ID...",
    least: 1,
    most: 100,
    help: "details of outgoing reports",
  },
  {
    run: "reportCancel",
    words: ["report", "cancel"],
    operands: "ID...",
    least: 1,
    most: 1000,
    dryRun: true,
    help: "do not send outgoing reports",
  },
  {
    run: "reportUndelete",
    words: ["report", "undelete"],
    operands: "ID...",
    least: 1,
    most: 1000,
    dryRun: true,
    help: "bring cancelled or dropped reports back, with what was counted",
    examples: ["mailreportctl report undelete d!example.net"],
  },
  {
    run: "reportSend",
    words: ["report", "send"],
    operands: "ID...",
    least: 1,
    most: 100,
    dryRun: true,
    help: "send outgoing reports now; an open period is closed",
  },
  {
    run: "reportPreview",
    words: ["report", "preview"],
    operands: "ID",
    least: 1,
    most: 1,
    help: "the message that would be sent, but for Report-ID and date",
  },
  {
    run: "reportExplain",
    words: ["report", "explain"],
    operands: "ID",
    least: 1,
    most: 1,
    help: "whether it will be sent, and why not",
  },
  {
    run: "hold",
    words: ["report", "hold"],
    operands: "ID...",
    least: 1,
    most: 1000,
    dryRun: true,
    help: "hold outgoing reports",
  },
  {
    run: "release",
    words: ["report", "release"],
    operands: "ID...",
    least: 1,
    most: 1000,
    dryRun: true,
    help: "release held outgoing reports",
  },
  {
    run: "suppressAdd",
    words: ["suppress", "add"],
    operands: "TARGET [REASON...]",
    least: 1,
    most: 100,
    options: [
      option("until", "TIME", "when it ends (2026-12-24, +30d; default: no end)"),
      option("for", "PERIOD", "how long (12h, 30d)"),
    ],
    dryRun: true,
    help: "send no reports to an ADDRESS, to @DOMAIN, to an https URI, or about a DOMAIN",
    examples: [
      "mailreportctl suppress add dmarc@example.net --for 30d mailbox is full",
      "mailreportctl suppress add @example.net",
    ],
  },
  {
    run: "suppressRemove",
    words: ["suppress", "remove"],
    operands: "TARGET...",
    least: 1,
    most: 1000,
    dryRun: true,
    help: "send reports there again",
  },
  {
    run: "suppressLookup",
    words: ["suppress", "lookup"],
    operands: "TARGET",
    least: 1,
    most: 1,
    help: "whether an address, @DOMAIN, DOMAIN or https URI is suppressed (exit code 1: it is not)",
  },
  {
    run: "envelope",
    words: ["queue", "status"],
    operands: "ID...",
    least: 1,
    most: 100,
    help: "details of envelopes or messages",
  },
  {
    run: "schedule",
    words: ["queue", "retry"],
    operands: "[ID...]",
    most: 1000,
    options: [...envelopes, time],
    dryRun: true,
    help: "deliver now, or at a time",
  },
  {
    run: "remove",
    words: ["queue", "cancel"],
    operands: "[ID...]",
    most: 1000,
    options: envelopes,
    dryRun: true,
    help: "remove envelopes",
  },
  {
    run: "import",
    words: ["import"],
    operands: "PATH...",
    least: 1,
    most: 100_000,
    dryRun: true,
    help: "parse and store files, directories, tar.gz, mbox, Maildir or - (standard input)",
    examples: ["mailreportctl import ~/reports/*.zip old.mbox"],
  },
  {
    run: "check",
    words: ["check"],
    operands: "PATH...",
    least: 1,
    most: 100_000,
    help: "parse the same without storing; needs no daemon",
  },
  {
    run: "feed",
    words: ["feed"],
    operands: "FILE|-",
    least: 1,
    most: 1,
    options: [{ name: "name", value: "FEED", help: "a feed of the configuration (default: control)" }],
    dryRun: true,
    help: "count evaluations and TLS sessions",
  },
  {
    run: "reparse",
    words: ["ingest", "retry"],
    operands: "[MAIL|REPORT...]",
    most: 1000,
    options: [...outcomes, { name: "all", help: "all mails" }],
    dryRun: true,
    help: "parse stored mails again: the named ones, or all that failed",
  },
  {
    run: "reparse",
    words: ["reparse"],
    operands: "[MAIL|REPORT...]",
    most: 1000,
    options: [...outcomes, { name: "all", help: "all mails" }],
    dryRun: true,
    help: "parse stored mails again, as after an upgrade",
    examples: ["mailreportctl reparse m42", "mailreportctl reparse --state failed"],
  },
  {
    run: "export",
    words: ["export"],
    operands: "LIST|raw [ID...]",
    least: 1,
    most: 10_000,
    options: exportOptions([
      option("format", "ndjson|csv|tsv", "form of a list (default: ndjson)", {
        values: ["ndjson", "csv", "tsv"],
      }),
      { name: "output", short: "o", value: "DIR", help: "raw mails as files, one each" },
    ]),
    help: `all fields of ${EXPORTS.map((list) => list.alias ?? list.name).join(", ")}; or raw mail`,
    examples: [
      "mailreportctl export records --domain example.org --since -30d --format csv >records.csv",
      "mailreportctl export raw --outcome failed --output failed/",
    ],
  },
  {
    run: "dbBackup",
    words: ["db", "backup"],
    operands: "DIR",
    least: 1,
    most: 1,
    help: "copy both databases to a directory without copies, while they are in use; it goes on when the client ends",
  },
  { run: "dbCheck", words: ["db", "check"], help: "check the integrity of both databases" },
  {
    run: "dbVacuum",
    words: ["db", "vacuum"],
    help: "give unused space back to the file system; intake waits meanwhile",
  },
  {
    run: "dbPrune",
    words: ["db", "prune"],
    dryRun: true,
    help: "delete now what has expired; asks first",
  },
  { run: "dbStats", words: ["db", "stats"], help: "size and content of the databases" },
  {
    run: "jobsRun",
    words: ["jobs", "run"],
    operands: "NAME",
    least: 1,
    most: 1,
    dryRun: true,
    help: "run a periodic job now, and wait for its end (show jobs has the names)",
    notes: [
      `The jobs are ${Object.keys(JOB_TABLE).join(", ")}.`,
      "With --json: job, dry_run, run (as last in show jobs; null for a dry run), detail (what was done, or would be)",
      "and temporary (of a run that failed: true when a later one may succeed, and the exit code is 75).",
    ],
    examples: ["mailreportctl jobs run retention --dry-run"],
  },
  { run: "reload", words: ["reload"], dryRun: true, help: "read the configuration again and apply it" },
  { run: "stop", words: ["stop"], help: "end the daemon" },
  { run: "log", words: ["log", "brief"], classic: true, help: "log at level info" },
  { run: "log", words: ["log", "verbose"], classic: true, help: "log at level debug" },
  { run: "ping", words: ["ping"], help: "ask whether the daemon answers" },
  { run: "help", words: ["help"], operands: "[COMMAND...]", most: 10, help: "this text" },
]);
