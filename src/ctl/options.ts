/** Options that several commands of mailreportctl share, with the values that they take. */
import { OUTCOMES, REASONS, WARNINGS } from "../model/outcome.ts";
import { OUTGOING_STATES } from "../model/outgoing.ts";
import { ENVELOPE_STATES } from "../model/queue.ts";
import { REPORT_KINDS } from "../model/report.ts";
import type { OptionSpec } from "./grammar.ts";

export const page: readonly OptionSpec[] = [
  { name: "limit", short: "p", value: "N", help: "maximum number of results" },
  { name: "after", value: "CURSOR", help: "continue after this cursor" },
];
export const WAIT: OptionSpec = {
  name: "wait",
  help: "wait until all mail that was accepted before is parsed",
};
/** Of lists of the archive. */
export const archivePage: readonly OptionSpec[] = [...page, WAIT];
export const option = (
  name: string,
  value: string,
  help: string,
  more: Pick<OptionSpec, "short" | "values"> = {},
): OptionSpec => ({ name, value, help, ...more });
const OUTGOING_KINDS = ["dmarc", "tls"] as const;
export const envelopes: readonly OptionSpec[] = [
  option("kind", "dmarc|tls", "kind of report", { short: "f", values: OUTGOING_KINDS }),
  option("domain", "DOMAIN", "policy domain; *.DOMAIN for those below", { short: "d" }),
  option("rcpt", "ADDRESS", "recipient, or @DOMAIN", { short: "r" }),
  option("sender", "ADDRESS", "envelope sender, or @DOMAIN", { short: "s" }),
  option("state", "STATE", "pending, inflight, held, delivered, failed, expired, removed", {
    values: ENVELOPE_STATES,
  }),
  option("error", "TEXT", "part of the last reply"),
  option("before", "TIME", "due before", { short: "b" }),
  option("due-after", "TIME", "due after", { short: "a" }),
];
/** Outcomes of mails; `failed`: all that went wrong; `spooled`: not parsed yet. */
const MAIL_STATES = [...OUTCOMES, "failed", "spooled"] as const;
const KIND = option("kind", "KIND", "dmarc, tls, failure, arf, dsn", { short: "f", values: REPORT_KINDS });
export const DOMAIN = option("domain", "DOMAIN", "policy domain", { short: "d" });
export const ORG = option("org", "TEXT", "part of the organisation's name");
export const SOURCE = option("source", "IP", "source address");
export const RESULT = option("result", "pass|fail|unknown", "DMARC result", {
  values: ["pass", "fail", "unknown"],
});
export const SINCE = option("since", "TIME", "from (2026-11-20, 7d or -7d, now, @epoch; UTC)");
export const UNTIL = option("until", "TIME", "before");
const WARNING = option("warning", "CODE", "reports with this warning", { values: Object.keys(WARNINGS) });
export const OUTCOME = option(
  "outcome",
  "OUTCOME",
  "imported, partial, duplicate, invalid…; failed: all that went wrong; spooled: not parsed yet",
  { values: MAIL_STATES },
);
export const STATE = option("state", "OUTCOME", "alias of --outcome", { values: MAIL_STATES });
export const ALL: OptionSpec = { name: "all", help: "include reports that the figures leave out" };
/** Filters of the lists of the archive. */
export const reports: readonly OptionSpec[] = [KIND, DOMAIN, ORG, SINCE, UNTIL, WARNING];
export const reportsOfKind: readonly OptionSpec[] = [DOMAIN, ORG, SINCE, UNTIL, WARNING];
export const records: readonly OptionSpec[] = [DOMAIN, ORG, SOURCE, RESULT, SINCE, UNTIL];
export const days: readonly OptionSpec[] = [DOMAIN, ORG, RESULT, SINCE, UNTIL];
export const mails: readonly OptionSpec[] = [
  OUTCOME,
  STATE,
  option("reason", "CODE", "reason code", { values: Object.keys(REASONS) }),
  KIND,
  DOMAIN,
  ORG,
  WARNING,
  option("source", "IP", "address of the SMTP client"),
  SINCE,
  UNTIL,
  { name: "reports", help: "list reports instead of mails" },
];
export const outgoing: readonly OptionSpec[] = [
  option("kind", "dmarc|tls", "kind of report", { short: "f", values: OUTGOING_KINDS }),
  option("format", "dmarc|tls", "alias of --kind", { values: OUTGOING_KINDS }),
  option("domain", "DOMAIN", "policy domain", { short: "d" }),
  option("state", "STATE", "waiting (open and held), open, held, composed, dropped, any", {
    values: ["waiting", ...OUTGOING_STATES, "any"],
  }),
];
export const time: OptionSpec = {
  name: "time",
  short: "t",
  value: "TIME",
  help: "when (+30m, 2026-11-20T12:00:00Z)",
};
