/**
 * Writes the manual pages (mdoc) from the tables that the programs use: commands, configuration keys, codes, log events;
 * and without FOLDER the example configuration too.
 * node contrib/man.js [FOLDER]        (after `npm run build`; default: etc/man)
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describedKeys, exampleConfig } from "../dist/config/example.js";
import { configSchema } from "../dist/config/schema.js";
import { COMMANDS } from "../dist/ctl/commands.js";
import { GLOBAL_OPTIONS, optionsOf } from "../dist/ctl/grammar.js";
import { ERROR_CODES } from "../dist/lib/errors.js";
import { LOG_EVENTS } from "../dist/lib/log/log.js";
import { EVENTS } from "../dist/model/events.js";
import { JOB_TABLE, scheduleText } from "../dist/model/jobs.js";
import { EXPORTS } from "../dist/model/lists/lists.js";
import { NOTES, OUTCOMES, REASONS, WARNINGS } from "../dist/model/outcome.js";
import { SUBSYSTEMS } from "../dist/model/subsystems.js";

/** Text with the special characters of mdoc escaped. */
const plain = (text) =>
  text
    .replace(/\\/g, "\\e")
    .replace(/^([.'])/gm, "\\&$1")
    .replace(/\*/g, "*")
    .replace(/…/g, "...");

/** Words that are typed as they are. */
const VALUES = new Set(
  [...COMMANDS.flatMap((command) => optionsOf(command)), ...GLOBAL_OPTIONS].flatMap(
    ({ values = [] }) => values,
  ),
);

/** True for a text that begins with something typed as it is: `d=`, or a list of values. */
function beginsLiterally(text) {
  const [first, next = ""] = text.split(" ");
  return (
    first.includes("=") || (VALUES.has(first.replace(/,$/, "")) && (first.endsWith(",") || next[0] === "("))
  );
}

/** The sentences of a text, each on a line of its own as mdoc needs it. */
const sentence = (text) =>
  plain(
    `${beginsLiterally(text) ? text[0] : text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`,
  ).replace(/([.;:]) (?=[A-Z])/g, "$1\n");

/** An argument of a macro, quoted so that words in it are not taken for macros. */
const quoted = (text) => `"${plain(text).replace(/"/g, '""')}"`;

function page(name, section, about, body) {
  return `.\\" Written by contrib/man.js from the tables in src: change those.
.Dd November 21, 2026
.Dt ${name.toUpperCase()} ${section}
.Os
.Sh NAME
.Nm ${name}
.Nd ${about}
${body.trim()}
`;
}

const list = (entries, width = "Ds") =>
  `.Bl -tag -width ${width}\n${entries.map(([tag, text]) => `.It ${tag}\n${text}`).join("\n")}\n.El`;

const OUTCOME_TEXTS = {
  imported: "parsed completely; there may be notes, which do not concern the figures",
  "imported-with-warnings":
    "parsed completely, with parse warnings: a deviation from the format was corrected",
  partial: "parsed, but some of its records could not be used; the others count",
  duplicate: "the same report as one that is stored; its bytes are not kept again",
  "duplicate-conflict":
    "has the key of a stored report, but other content; the stored one counts, this one is kept for inspection",
  invalid: "a report that cannot be parsed; kept with the reason, and can be parsed again after an upgrade",
  "not-a-report": "some other mail or file; kept",
  unauthenticated: "refused with 550 5.7.1 because require_auth says reject; kept for inspection",
};

const codes = () =>
  page(
    "mailreport-codes",
    7,
    "outcomes, reasons, warnings and errors of mailreportd",
    `.Sh DESCRIPTION
These words are stable: programs may rely on them.
They appear in the log, in the output of
.Xr mailreportctl 8
and in SMTP replies.
.Sh OUTCOMES
Every mail and every imported file ends as exactly one of these
.Pq Ic show received --outcome :
${list(OUTCOMES.map((code) => [`Cm ${code}`, sentence(OUTCOME_TEXTS[code])]))}
.Pp
.Cm failed
stands for all of partial, duplicate-conflict, invalid and unauthenticated;
.Ic reparse --state failed
parses them again.
.Cm spooled
stands for mail that is stored and acknowledged, and not parsed yet: large mail, mail of a burst, and mail
that was accepted while parsing was paused.
.Sh REASONS
Why a mail, or a part of it, was not imported
.Pq Ic show received --reason :
${list(Object.entries(REASONS).map(([code, text]) => [`Cm ${code}`, sentence(text)]))}
.Sh WARNINGS
Deviations from the format in a report that was parsed
.Pq Ic show received --reports --warning ;
.Ic show reporters
shows how often each occurs for each organisation.
Those marked (note) do not concern the figures.
${list(Object.entries(WARNINGS).map(([code, text]) => [`Cm ${code}${NOTES.has(code) ? " Pq note" : ""}`, sentence(text)]))}
.Sh ERROR CODES
Codes of failed requests and of log lines, with the exit code of
.Xr mailreportctl 8
or
.Xr mailreportd 8 :
${list(Object.entries(ERROR_CODES).map(([code, { exit, text }]) => [`Cm ${code} Pq ${exit}`, sentence(text)]))}
.Sh LOG EVENTS
The field
.Dq event
of each line of the log:
${list(Object.entries(LOG_EVENTS).map(([event, text]) => [`Cm ${event}`, sentence(text)]))}
.Sh EVENTS
What happens to mail, reports, envelopes, feeds and jobs.
.Ic show stats event
shows how often each of these has happened since the start:
${list(Object.entries(EVENTS).map(([name, { text }]) => [`Cm ${name}`, sentence(text)]))}
.Sh SEE ALSO
.Xr mailreportctl 8 ,
.Xr mailreportd 8`,
  );

/** How the type of a field is written: what JSON has, and the form of times. */
const TYPES = {
  text: "text",
  number: "number",
  time: "time",
  day: "date",
  flag: "true or false",
  texts: "list of texts",
  object: "object",
  objects: "list of objects",
  map: "object of texts",
  counts: "object of numbers and short texts",
  pairs: "list of name and value",
};

/** How a type is written. Throws for one that has no words here. */
function typeText(type) {
  const text = TYPES[type];
  if (text === undefined) throw new Error(`contrib/man.js: no words for the field type ${type}`);
  return text;
}

/** Words in a sentence, each marked as typed or printed as it is. */
const words = (each) => each.map((one) => `.Cm ${plain(one)}`).join(" ,\n");

/** What a text may be; reasons and warnings have their page. */
function valueSentence(values) {
  const all = Object.entries({ reasons: REASONS, warnings: WARNINGS });
  const known = all.find(([, table]) => Object.keys(table).every((word) => values.includes(word)));
  return known ? `One of the ${known[0]} of\n.Xr mailreport-codes 7 .` : `One of\n${words(values)} .`;
}

/** The fields of a row or object, those of its members below it. */
export const fieldList = (fields) =>
  list(
    Object.entries(fields).map(([name, { type, nullable, optional, help, values, members }]) => [
      `Va ${name} Pq ${typeText(type)}${nullable ? " or null" : ""}${optional ? ", may be absent" : ""}`,
      [
        sentence(help),
        ...(values ? [valueSentence(values)] : []),
        ...(members ? [fieldList(members)] : []),
      ].join("\n"),
    ]),
  );

/** The filters of a list, or nothing. */
const filterSentence = (filters) =>
  Object.keys(filters).length === 0 ? "" : `Filters:\n${words(Object.keys(filters))} .\n`;

const lists = () =>
  page(
    "mailreport-lists",
    7,
    "fields of the lists of mailreportd",
    `.Sh DESCRIPTION
The lists of
.Xr mailreportctl 8
have these fields with
.Fl -json ,
in
.Ic export ,
and in the answers of
.Ic GET /v1/ Ns Ar list
on the control socket.
Times are RFC 3339 in UTC, dates are UTC days.
Texts of reports are outside text: whoever sent the report wrote them.
${EXPORTS.map(
  ({ name, help, order, commands, filters, fields }) => `.Sh ${name.toUpperCase()}
${sentence(help)}
Sorted ${plain(order)}.
${commands.length > 0 ? `Shown by\n${commands.map(({ words }) => `.Ic ${words.join(" ")}`).join(" ,\n")} .\n` : ""}${filterSentence(filters)}${fieldList(fields)}`,
).join("\n")}
.Sh SEE ALSO
.Xr mailreport-codes 7 ,
.Xr mailreportctl 8`,
  );

function option({ name, short, value, help }) {
  const flag = short ? `Fl ${short} , -${name}` : `Fl -${name}`;
  return [`${flag}${value ? ` Ar ${quoted(value)}` : ""}`, sentence(help)];
}

const client = () =>
  page(
    "mailreportctl",
    8,
    "control the mail reporting daemon",
    `.Sh SYNOPSIS
.Nm
.Op Ar options
.Ar command
.Op Ar argument ...
.Sh DESCRIPTION
.Nm
controls
.Xr mailreportd 8
and shows its data, over its Unix socket.
Words of commands may be shortened as long as they are not ambiguous.
On a terminal it prints tables; in a pipe fields between
.Ql | ,
as
.Xr smtpctl 8
does.
Times are dates, RFC 3339 times,
.Cm now ,
spans such as
.Cm -7d
or
.Cm +30m ,
and
.Cm @ Ns Ar epoch ;
without a zone they are UTC.
With
.Fl -since
and
.Fl -until
a span needs no sign:
.Cm 7d
is seven days ago.
A list contains what overlaps the time from
.Fl -since
up to and without
.Fl -until ;
a report longer than 25 hours is spread over its days where figures are listed by day.
.Sh OPTIONS
${list(GLOBAL_OPTIONS.map(option))}
.Sh COMMANDS
${list(
  COMMANDS.map((command) => {
    const { words, operands, help, notes = [] } = command;
    const options = optionsOf(command);
    return [
      `Ic ${words.join(" ")}${operands ? ` Ar ${quoted(operands)}` : ""}`,
      `${[sentence(help), ...notes.map(plain)].join("\n")}${options.length > 0 ? `\n${list(options.map(option))}` : ""}`,
    ];
  }),
)}
.Sh EXIT STATUS
0 on success, 1 when nothing matched or only a part was done, 64 for a wrong command, 65 for files or lines that cannot be used,
69 when no daemon answers; the others are those of
.Xr sysexits 3 .
.Sh SEE ALSO
.Xr mailreport-codes 7 ,
.Xr mailreport-lists 7 ,
.Xr mailreportd 8`,
  );

/** The periodic jobs, with the schedules that the defaults of the configuration make. */
function jobList() {
  const settings = configSchema.shape.jobs.parse({});
  return list(
    Object.entries(JOB_TABLE).map(([name, { about, schedule, key }]) => {
      const at = schedule(settings);
      const when = at === null ? "off" : scheduleText(at);
      return [`Cm ${name}`, `${sentence(about)}\n${sentence(`runs ${when}${key ? ` (${key})` : ""}`)}`];
    }),
  );
}

const daemon = () =>
  page(
    "mailreportd",
    8,
    "the mail reporting daemon",
    `.Sh SYNOPSIS
.Nm
.Op Fl dFhnv
.Op Fl f Ar file
.Op Fl P Ar subsystem
.Sh DESCRIPTION
.Nm
is the mail server for the addresses that DMARC, TLS, failure and abuse reports are sent to: it stores each mail durably before it answers 250,
parses it and keeps its reports.
It also keeps the queue of outgoing reports, composes them when they are due, and delivers them.
.Pp
The options are:
.Bl -tag -width Ds
.It Fl d
Stay in the foreground and log for people.
.It Fl F
Stay in the foreground and log JSON lines on standard output; this is the default.
.It Fl f Ar file
Read the configuration from
.Ar file .
.It Fl h , -help
Print a summary of the options and exit.
.It Fl n
Check the configuration, report every mistake with file, line and column, and exit.
.It Fl P Ar subsystem
Start with it paused:
${SUBSYSTEMS.map((name) => `.Cm ${name}`).join(" ,\n")} .
May be given several times.
.It Fl v
Log at level debug.
With
.Fl n ,
print the configuration in force, as a configuration.
.It Fl -version
Print the version and exit.
.El
.Sh SIGNALS
.Bl -tag -width Ds
.It Dv SIGTERM , SIGINT
Accept no more mail, finish the transactions and deliveries in progress, and exit; a second signal exits at once.
.It Dv SIGHUP
Read the configuration again: applied as a whole, or the old one stays.
.It Dv SIGUSR1
Open the log file again, as logrotate needs it.
The process is named
.Dq mailreportd .
.El
.Sh JOBS
The daemon does periodic work in jobs.
.Ic mailreportctl show jobs
shows their last and next runs,
.Ic mailreportctl jobs run
runs one now.
${jobList()}
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/mailreportd/mailreportd.conf
Configuration, see
.Xr mailreportd.conf 5 .
.It Pa /var/lib/mailreportd/archive.db
Received mails, their reports and records, sums by day.
.It Pa /var/lib/mailreportd/queue.db
Outgoing reports: tallies, messages, envelopes, suppressions.
.It Pa /run/mailreportd/control.sock
Control socket of
.Xr mailreportctl 8 .
The sockets of feeds are in the same directory.
.El
.Pp
Copy them with
.Ic mailreportctl db backup ,
never with
.Xr cp 1
while the daemon runs.
.Sh EXIT STATUS
0 after an orderly end; 69 when another daemon uses the state directory or an address; 70 after an error of its own; 78 for a wrong configuration.
.Sh SEE ALSO
.Xr mailreportd.conf 5 ,
.Xr mailreport-codes 7 ,
.Xr mailreportctl 8`,
  );

const configuration = () =>
  page(
    "mailreportd.conf",
    5,
    "configuration of the mail reporting daemon",
    `.Sh DESCRIPTION
The configuration is TOML.
.Ic mailreportd -n
reports every mistake at once, with file, line and column.
Relative paths start at the file, those of keys at
.Va state_directory ,
those of sockets at
.Va runtime_directory .
Sizes are written
.Qq 64K
or
.Qq 25M ,
durations
.Qq 90s ,
.Qq 1h30m
or
.Qq 14d .
${describedKeys()
  .map(({ table, list: isList, about, keys }) => {
    const heading = table === null ? ".Ss General" : `.Ss ${isList ? `[[${table}]]` : `[${table}]`}`;
    const entries = keys.map(({ key, text, value }) => [
      `Va ${key}${value === undefined ? "" : ` Pq default: Li ${quoted(value)}`}`,
      sentence(text || key),
    ]);
    return `${heading}\n${about ? `${sentence(about)}\n` : ""}${list(entries)}`;
  })
  .join("\n")}
.Sh SEE ALSO
.Xr mailreportctl 8 ,
.Xr mailreportd 8`,
  );

/** All pages by their file name. */
export function manualPages() {
  return {
    "mailreport-codes.7": codes(),
    "mailreport-lists.7": lists(),
    "mailreportctl.8": client(),
    "mailreportd.8": daemon(),
    "mailreportd.conf.5": configuration(),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2] ?? fileURLToPath(new URL("../etc/man", import.meta.url));
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(manualPages())) writeFileSync(join(folder, name), text);
  if (process.argv[2] === undefined)
    writeFileSync(fileURLToPath(new URL("../mailreportd.conf.example", import.meta.url)), exampleConfig());
}
