/** Every command of mailreportctl, once: words, operands, options, help. Help and completion derive from it. */
import type { CommandSpec, OptionSpec } from "./grammar.ts";

const page: readonly OptionSpec[] = [
  { name: "limit", short: "p", value: "N", help: "at most so many" },
  { name: "after", value: "KEY", help: "go on behind this one" },
];
const envelopes: readonly OptionSpec[] = [
  { name: "kind", short: "f", value: "dmarc|tls", help: "kind of report" },
  { name: "domain", short: "d", value: "DOMAIN", help: "policy domain; *.DOMAIN for those below" },
  { name: "rcpt", short: "r", value: "ADDRESS", help: "recipient, or @DOMAIN" },
  { name: "sender", short: "s", value: "ADDRESS", help: "envelope sender, or @DOMAIN" },
  { name: "state", value: "STATE", help: "pending, inflight, held, delivered, failed, expired, removed" },
  { name: "error", value: "TEXT", help: "part of the last reply" },
  { name: "before", short: "b", value: "TIME", help: "due before" },
  { name: "due-after", short: "a", value: "TIME", help: "due after" },
];
const option = (name: string, value: string, help: string, short?: string): OptionSpec => ({
  name,
  value,
  help,
  ...(short === undefined ? {} : { short }),
});
const KIND = option("kind", "KIND", "dmarc, tls, failure, arf, dsn", "f");
const DOMAIN = option("domain", "DOMAIN", "policy domain", "d");
const ORG = option("org", "TEXT", "part of the organisation's name");
const SOURCE = option("source", "IP", "source address");
const RESULT = option("result", "pass|fail|unknown", "DMARC result");
const SINCE = option("since", "TIME", "from (2026-11-20, -7d, now, @epoch)");
const UNTIL = option("until", "TIME", "before");
const WARNING = option("warning", "CODE", "reports with this warning");
const OUTCOME = option(
  "outcome",
  "OUTCOME",
  "imported, partial, duplicate, invalid…, or failed for all that went wrong",
);
const STATE = option("state", "OUTCOME", "the same as --outcome");
const ALL: OptionSpec = { name: "all", help: "with reports that are left out of the figures" };
/** What the lists of the archive can be narrowed by. */
const reports: readonly OptionSpec[] = [KIND, DOMAIN, ORG, SINCE, UNTIL, WARNING];
const reportsOfKind: readonly OptionSpec[] = [DOMAIN, ORG, SINCE, UNTIL, WARNING];
const records: readonly OptionSpec[] = [DOMAIN, ORG, SOURCE, RESULT, SINCE, UNTIL];
const days: readonly OptionSpec[] = [DOMAIN, ORG, RESULT, SINCE, UNTIL];
const mails: readonly OptionSpec[] = [
  OUTCOME,
  STATE,
  option("reason", "CODE", "reason code"),
  KIND,
  DOMAIN,
  ORG,
  WARNING,
  option("source", "IP", "address of the client that brought it"),
  SINCE,
  UNTIL,
  { name: "reports", help: "the reports in place of the mails" },
];
const outgoing: readonly OptionSpec[] = [
  { name: "kind", short: "f", value: "dmarc|tls", help: "kind of report" },
  { name: "format", value: "dmarc|tls", help: "the same, as in Stalwart's client" },
  { name: "domain", short: "d", value: "DOMAIN", help: "policy domain" },
  { name: "state", value: "STATE", help: "waiting (open and held), open, held, composed, dropped, any" },
];
const time: OptionSpec = {
  name: "time",
  short: "t",
  value: "TIME",
  help: "when (+30m, 2026-11-20T12:00:00Z)",
};

export interface Command extends CommandSpec {
  /** What carries it out (run.ts). */
  readonly run: string;
}

export const COMMANDS: readonly Command[] = [
  {
    run: "queue",
    words: ["show", "queue"],
    classic: true,
    operands: "[ID]",
    most: 1,
    options: [...envelopes, ...page],
    help: "envelopes that wait",
    examples: ["mailreportctl show queue", "mailreportctl show queue --json -d example.net"],
  },
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
  { run: "stats", words: ["show", "stats"], classic: true, operands: "[NAME]", most: 1, help: "counters" },
  { run: "status", words: ["show", "status"], classic: true, help: "what runs and what is paused" },
  {
    run: "outgoing",
    words: ["show", "reports"],
    options: [...outgoing, ...page],
    help: "reports that we owe",
  },
  {
    run: "report",
    words: ["show", "report"],
    operands: "ID",
    least: 1,
    most: 1,
    options: [
      { name: "raw", help: "the mail or message it is in" },
      { name: "rows", help: "its rows" },
    ],
    help: "one report: received (r42) or owed (d!…, t!…)",
  },
  {
    run: "received",
    words: ["show", "received"],
    options: [...mails, ...page],
    help: "mails and files that came, and what became of them",
  },
  {
    run: "mail",
    words: ["show", "mail"],
    operands: "MAIL",
    least: 1,
    most: 1,
    options: [{ name: "raw", help: "its bytes" }],
    help: "one accepted mail (m42)",
  },
  {
    run: "records",
    words: ["show", "records"],
    operands: "[DOMAIN]",
    most: 1,
    options: [...records, ...page],
    help: "records of received DMARC reports",
  },
  {
    run: "domains",
    words: ["show", "domains"],
    options: [DOMAIN, SINCE, UNTIL, ...page],
    help: "figures by policy domain",
  },
  {
    run: "sources",
    words: ["show", "sources"],
    operands: "[DOMAIN]",
    most: 1,
    options: [...records, ALL, ...page],
    help: "who sends in a domain's name",
  },
  {
    run: "reporters",
    words: ["show", "reporters"],
    options: [...reports, ...page],
    help: "who reports, and which repairs that takes",
  },
  {
    run: "tls",
    words: ["show", "tls"],
    operands: "[DOMAIN]",
    most: 1,
    options: [...reportsOfKind, ...page],
    help: "received TLS reports",
  },
  {
    run: "failures",
    words: ["show", "failures"],
    options: [...reportsOfKind, ...page],
    help: "received failure reports",
  },
  {
    run: "dsn",
    words: ["show", "dsn"],
    options: [...reportsOfKind, ...page],
    help: "received delivery status notifications",
  },
  {
    run: "days",
    words: ["show", "days"],
    operands: "[DOMAIN]",
    most: 1,
    options: [...days, ...page],
    help: "figures by day; long reports are spread over theirs",
  },
  { run: "suppressions", words: ["show", "suppressions"], help: "addresses that are not sent to" },
  {
    run: "schedule",
    words: ["schedule"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: [...envelopes, time],
    help: "deliver now, or at a time",
  },
  {
    run: "remove",
    words: ["remove"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    help: "remove envelopes, or cancel owed reports",
  },
  {
    run: "hold",
    words: ["hold"],
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    help: "hold envelopes or owed reports",
  },
  {
    run: "release",
    words: ["release"],
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    help: "release what is held",
  },
  {
    run: "hold",
    words: ["pause", "envelope"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    help: "hold envelopes",
  },
  {
    run: "release",
    words: ["resume", "envelope"],
    classic: true,
    operands: "ID...|all",
    most: 1000,
    options: envelopes,
    help: "release held envelopes",
  },
  ...(["smtp", "mta", "mda"] as const).flatMap((subsystem): Command[] => [
    {
      run: "pause",
      words: ["pause", subsystem],
      classic: true,
      ...(subsystem === "mta" ? { operands: "[for DOMAIN]", most: 2 } : {}),
      help: {
        smtp: "take no new mail sessions",
        mta: "deliver nothing",
        mda: "store mail without reading it",
      }[subsystem],
    },
    {
      run: "resume",
      words: ["resume", subsystem],
      classic: true,
      ...(subsystem === "mta" ? { operands: "[for DOMAIN]", most: 2 } : {}),
      help: "the contrary",
    },
  ]),
  { run: "pause", words: ["pause", "scheduler"], help: "compose no reports" },
  { run: "resume", words: ["resume", "scheduler"], help: "the contrary" },
  {
    run: "outgoing",
    words: ["report", "list"],
    options: [...outgoing, ...page],
    help: "reports that we owe",
  },
  {
    run: "reportStatus",
    words: ["report", "status"],
    operands: "ID...",
    least: 1,
    most: 100,
    help: "details of owed reports",
  },
  {
    run: "reportCancel",
    words: ["report", "cancel"],
    operands: "ID...",
    least: 1,
    most: 1000,
    help: "do not send owed reports",
  },
  {
    run: "reportSend",
    words: ["report", "send"],
    operands: "ID...",
    least: 1,
    most: 100,
    help: "send owed reports now; an open period is closed",
  },
  {
    run: "reportPreview",
    words: ["report", "preview"],
    operands: "ID",
    least: 1,
    most: 1,
    help: "the exact message that would be sent",
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
    help: "hold owed reports",
  },
  {
    run: "release",
    words: ["report", "release"],
    operands: "ID...",
    least: 1,
    most: 1000,
    help: "release them",
  },
  { run: "queue", words: ["queue", "list"], options: [...envelopes, ...page], help: "envelopes that wait" },
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
    help: "deliver now, or at a time",
  },
  {
    run: "remove",
    words: ["queue", "cancel"],
    operands: "[ID...]",
    most: 1000,
    options: envelopes,
    help: "remove envelopes",
  },
  {
    run: "import",
    words: ["import"],
    operands: "PATH...",
    least: 1,
    most: 100_000,
    help: "read files, directories, tar.gz, mbox, Maildir or - into the archive",
    examples: ["mailreportctl import ~/reports/*.zip old.mbox"],
  },
  {
    run: "check",
    words: ["check"],
    operands: "FILE...",
    least: 1,
    most: 100_000,
    help: "read files without keeping them; needs no daemon",
  },
  {
    run: "feed",
    words: ["feed"],
    operands: "FILE|-",
    least: 1,
    most: 1,
    options: [{ name: "name", value: "FEED", help: "name of the feed (default: control)" }],
    help: "count evaluations and TLS sessions",
  },
  {
    run: "reparse",
    words: ["ingest", "retry"],
    operands: "[MAIL...]",
    most: 1000,
    options: [OUTCOME, STATE, { name: "all", help: "all mails" }],
    help: "read kept mails again",
  },
  {
    run: "reparse",
    words: ["reparse"],
    operands: "[MAIL...]",
    most: 1000,
    options: [OUTCOME, STATE, { name: "all", help: "all mails" }],
    help: "read kept mails again",
  },
  {
    run: "export",
    words: ["export"],
    operands: "LIST|raw [ID...]",
    least: 1,
    most: 10_000,
    options: [
      { name: "format", value: "ndjson|csv|tsv", help: "form of a list (default: ndjson)" },
      { name: "output", short: "o", value: "DIR", help: "raw mails as files, one each" },
      ...[...mails.filter((o) => o.name !== "source"), SOURCE, RESULT, ALL].filter(
        (o) => o.name !== "reports",
      ),
      ...page,
    ],
    help: "all fields of mails, reports, records, domains, sources, reporters, days, tls, failures, dsn; or raw mail",
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
    help: "copy both databases to a new directory, while they are in use",
  },
  { run: "dbCheck", words: ["db", "check"], help: "see whether the databases are sound" },
  { run: "dbVacuum", words: ["db", "vacuum"], help: "give unused space back; intake waits meanwhile" },
  { run: "dbPrune", words: ["db", "prune"], help: "delete now what has had its time (--dry-run counts it)" },
  { run: "dbStats", words: ["db", "stats"], help: "size and content of the databases" },
  { run: "reload", words: ["reload"], help: "read the configuration again" },
  { run: "stop", words: ["stop"], help: "end the daemon" },
  { run: "log", words: ["log", "brief"], classic: true, help: "log what matters" },
  { run: "log", words: ["log", "verbose"], classic: true, help: "log everything" },
  { run: "ping", words: ["ping"], help: "see whether the daemon answers" },
  { run: "help", words: ["help"], operands: "[COMMAND...]", most: 10, help: "this" },
];
