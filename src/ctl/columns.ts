/** The columns of each list. */
import { type Column, day, epoch, type Item, relative, str, thousands } from "./render.ts";

const last = (item: Item, name: string): string => str((item.last as Item | null)?.[name]);

const runstate = (state: unknown): string => (state === "held" ? "pending" : str(state));

/** smtpctl's fourteen fields, and three more after them. */
export const queueColumns = (now: number): readonly Column[] => [
  { title: "ENVELOPE", text: (e) => str(e.id) },
  { title: "TYPE", text: (e) => str(e.kind) },
  { title: "REPORT FOR", text: (e) => str(e.domain) },
  { title: "RECIPIENT", text: (e) => str(e.rcpt) },
  { title: "STATE", text: (e) => str(e.state) },
  { title: "TRIES", text: (e) => str(e.attempts), right: true },
  { title: "NEXT", text: (e) => (e.state === "pending" ? relative(e.next_at, now) : "-") },
  { title: "EXPIRES", text: (e) => relative(e.expires_at, now) },
  { title: "LAST REPLY", text: (e) => last(e, "text") },
];

export const queuePlain = (now: number): readonly Column[] => [
  { title: "evpid", text: (e) => str(e.id) },
  { title: "src", text: () => "local" },
  { title: "agent", text: (e) => str(e.agent) },
  { title: "flags", text: (e) => (e.flags as string[]).join(",") },
  { title: "sender", text: (e) => str(e.sender) },
  { title: "rcpt", text: (e) => str(e.rcpt) },
  { title: "dest", text: (e) => str(e.rcpt) },
  { title: "ctime", text: (e) => epoch(e.created_at) },
  { title: "expire", text: (e) => epoch(e.expires_at) },
  { title: "lasttry", text: (e) => epoch(e.last_at) || "0" },
  { title: "retries", text: (e) => str(e.attempts) },
  { title: "runstate", text: (e) => runstate(e.state) },
  // never negative, however late it is
  {
    title: "delay",
    text: (e) =>
      e.state === "pending" ? String(Math.max(0, Number(epoch(e.next_at)) - Math.floor(now / 1000))) : "",
  },
  { title: "error", text: (e) => last(e, "text") },
  { title: "kind", text: (e) => str(e.kind) },
  { title: "report-id", text: (e) => str(e.report_id) },
  { title: "size", text: (e) => str(e.size) },
];

export const outgoingColumns = (now: number): readonly Column[] => [
  { title: "ID", text: (r) => str(r.id) },
  { title: "DOMAIN", text: (r) => str(r.domain) },
  { title: "TYPE", text: (r) => str(r.kind).toUpperCase(), plain: (r) => str(r.kind) },
  { title: "FROM", text: (r) => day(r.begin), plain: (r) => epoch(r.begin) },
  { title: "TO", text: (r) => day(r.end), plain: (r) => epoch(r.end) },
  { title: "DUE", text: (r) => relative(r.due, now), plain: (r) => epoch(r.due) },
  { title: "ROWS", text: (r) => thousands(r.rows), plain: (r) => str(r.rows), right: true },
  { title: "MSGS", text: (r) => thousands(r.messages), plain: (r) => str(r.messages), right: true },
  { title: "STATE", text: (r) => outgoingState(r) },
];

/** Why it was dropped, or that composing it fails. */
function outgoingState({ state, reason, failures }: Item): string {
  if (reason) return `${str(state)} (${str(reason)})`;
  return Number(failures) > 0 && state !== "composed" ? `${str(state)} (failed)` : str(state);
}

export const receivedColumns = (now: number): readonly Column[] => [
  { title: "MAIL", text: (m) => str(m.id) },
  { title: "RECEIVED", text: (m) => relative(m.received_at, now), plain: (m) => epoch(m.received_at) },
  { title: "FROM", text: (m) => str(m.from ?? m.envelope_from ?? m.file_name) },
  { title: "OUTCOME", text: (m) => str(m.outcome) },
  { title: "REASON", text: (m) => str(m.reason) },
  { title: "REPORTS", text: (m) => (m.reports as string[]).join(",") },
  { title: "AUTH", text: (m) => str(m.auth) },
  { title: "AUTH DOMAIN", text: (m) => str(m.auth_domain) },
  { title: "SIZE", text: (m) => thousands(m.size), plain: (m) => str(m.size), right: true },
];

/** The verdict on the mail that carried a report, and why the report is left out of the figures. */
const authFlags = (report: Item): string =>
  report.foreign
    ? `${str(report.auth)},foreign`
    : report.counted
      ? str(report.auth)
      : `${str(report.auth)},uncounted`;

export const reportColumns = (now: number): readonly Column[] => [
  { title: "REPORT", text: (r) => str(r.id) },
  { title: "KIND", text: (r) => str(r.kind) },
  { title: "ORGANISATION", text: (r) => str(r.org_name) },
  { title: "DOMAIN", text: (r) => str(r.policy_domain) },
  { title: "BEGIN", text: (r) => day(r.begin), plain: (r) => epoch(r.begin) },
  { title: "END", text: (r) => day(r.end), plain: (r) => epoch(r.end) },
  { title: "ROWS", text: (r) => thousands(r.records), plain: (r) => str(r.records), right: true },
  { title: "MSGS", text: (r) => thousands(r.messages), plain: (r) => str(r.messages), right: true },
  { title: "PASS", text: (r) => thousands(r.pass_messages), plain: (r) => str(r.pass_messages), right: true },
  { title: "AUTH", text: authFlags },
  { title: "AUTH DOMAIN", text: (r) => str(r.auth_domain) },
  { title: "RECEIVED", text: (r) => relative(r.received_at, now), plain: (r) => epoch(r.received_at) },
];

const when = (title: string, name: string, now: number): Column => ({
  title,
  text: (r) => relative(r[name], now),
  plain: (r) => epoch(r[name]),
});
const number = (title: string, name: string): Column => ({
  title,
  text: (r) => thousands(r[name]),
  plain: (r) => str(r[name]),
  right: true,
});
const word = (title: string, name: string): Column => ({ title, text: (r) => str(r[name]) });

/** One policy of a TLS report. */
export const tlsColumns = (now: number): readonly Column[] => [
  word("REPORT", "id"),
  word("ORGANISATION", "org_name"),
  { title: "DOMAIN", text: (r) => str(r.tls_policy_domain ?? r.policy_domain) },
  word("POLICY", "tls_policy_type"),
  { title: "BEGIN", text: (r) => day(r.begin), plain: (r) => epoch(r.begin) },
  { title: "END", text: (r) => day(r.end), plain: (r) => epoch(r.end) },
  number("OK", "tls_successes"),
  number("FAILED", "tls_failures"),
  {
    title: "RESULT TYPES",
    text: (r) =>
      (r.tls_result_types as Item[]).map((t) => `${str(t.result_type)}=${str(t.sessions)}`).join(","),
  },
  { title: "AUTH", text: authFlags },
  when("RECEIVED", "received_at", now),
];

/** A failure or abuse report. */
export const failureColumns = (now: number): readonly Column[] => [
  word("REPORT", "id"),
  when("ARRIVAL", "arrival_at", now),
  word("DOMAIN", "policy_domain"),
  word("SOURCE", "source_ip"),
  word("TYPE", "feedback_type"),
  word("AUTH FAILURE", "auth_failure"),
  word("DELIVERY", "delivery_result"),
  word("MAIL FROM", "original_mail_from"),
  word("FROM", "sample_from"),
  word("SUBJECT", "sample_subject"),
  number("INCIDENTS", "incidents"),
  { title: "AUTH", text: authFlags },
  when("RECEIVED", "received_at", now),
];

/** One recipient of a delivery status notification. */
export const deliveryColumns = (now: number): readonly Column[] => [
  word("REPORT", "id"),
  when("ARRIVAL", "arrival_at", now),
  word("RECIPIENT", "recipient"),
  word("ACTION", "action"),
  word("STATUS", "status"),
  word("REMOTE MTA", "remote_mta"),
  word("DIAGNOSTIC", "diagnostic"),
  word("REPORTING MTA", "reporting_mta"),
  word("MESSAGE-ID", "original_message_id"),
  when("RECEIVED", "received_at", now),
];

const results = (list: unknown, ...names: string[]): string =>
  (list as Item[])
    .map((r) =>
      names
        .map((n) => str(r[n]))
        .filter(Boolean)
        .join("/"),
    )
    .join(",");

export const recordColumns: readonly Column[] = [
  { title: "REPORT", text: (r) => str(r.report) },
  { title: "SOURCE", text: (r) => str(r.source_ip) },
  { title: "COUNT", text: (r) => thousands(r.count), plain: (r) => str(r.count), right: true },
  { title: "DISPOSITION", text: (r) => str(r.disposition) },
  { title: "DKIM", text: (r) => str(r.dkim) },
  { title: "SPF", text: (r) => str(r.spf) },
  { title: "HEADER FROM", text: (r) => str(r.header_from) },
  { title: "ENVELOPE FROM", text: (r) => str(r.envelope_from) },
  { title: "DKIM RESULTS", text: (r) => results(r.dkim_results, "domain", "selector", "result") },
  { title: "SPF RESULTS", text: (r) => results(r.spf_results, "domain", "result") },
  { title: "AUTH", text: (r) => (r.counted ? str(r.auth) : `${str(r.auth)},uncounted`) },
];

const share = (part: unknown, whole: unknown): string =>
  Number(whole) > 0 ? `${((Number(part) / Number(whole)) * 100).toFixed(1)}%` : "-";

export const domainColumns = (now: number): readonly Column[] => [
  { title: "DOMAIN", text: (d) => str(d.domain) },
  { title: "POLICY", text: (d) => str(d.policy) },
  { title: "MESSAGES", text: (d) => thousands(d.messages), plain: (d) => str(d.messages), right: true },
  { title: "PASS", text: (d) => share(d.pass, d.messages), plain: (d) => str(d.pass), right: true },
  { title: "FAIL", text: (d) => thousands(d.fail), plain: (d) => str(d.fail), right: true },
  { title: "UNKNOWN", text: (d) => thousands(d.unknown), plain: (d) => str(d.unknown), right: true },
  {
    title: "TLS SESSIONS",
    text: (d) => thousands(d.tls_sessions),
    plain: (d) => str(d.tls_sessions),
    right: true,
  },
  {
    title: "TLS FAIL",
    text: (d) => thousands(d.tls_failures),
    plain: (d) => str(d.tls_failures),
    right: true,
  },
  { title: "REPORTERS", text: (d) => str(d.reporters), right: true },
  {
    title: "LAST REPORT",
    text: (d) => relative(d.last_report_at, now),
    plain: (d) => epoch(d.last_report_at),
  },
];

export const sourceColumns: readonly Column[] = [
  { title: "SOURCE", text: (s) => str(s.source) },
  { title: "MESSAGES", text: (s) => thousands(s.messages), plain: (s) => str(s.messages), right: true },
  { title: "PASS", text: (s) => share(s.pass, s.messages), plain: (s) => str(s.pass), right: true },
  { title: "FAIL", text: (s) => thousands(s.fail), plain: (s) => str(s.fail), right: true },
  { title: "UNKNOWN", text: (s) => thousands(s.unknown), plain: (s) => str(s.unknown), right: true },
  { title: "DKIM", text: (s) => share(s.dkim_pass, s.messages), plain: (s) => str(s.dkim_pass), right: true },
  { title: "SPF", text: (s) => share(s.spf_pass, s.messages), plain: (s) => str(s.spf_pass), right: true },
  {
    title: "QUARANTINED",
    text: (s) => thousands(s.quarantine),
    plain: (s) => str(s.quarantine),
    right: true,
  },
  { title: "REJECTED", text: (s) => thousands(s.reject), plain: (s) => str(s.reject), right: true },
  { title: "FIRST", text: (s) => day(s.first), plain: (s) => epoch(s.first) },
  { title: "LAST", text: (s) => day(s.last), plain: (s) => epoch(s.last) },
];

export const reporterColumns = (now: number): readonly Column[] => [
  { title: "ORGANISATION", text: (r) => str(r.org_name) },
  { title: "REPORTS", text: (r) => str(r.reports), right: true },
  {
    title: "WITH WARNINGS",
    text: (r) => share(r.repaired, r.reports),
    plain: (r) => str(r.repaired),
    right: true,
  },
  { title: "MESSAGES", text: (r) => thousands(r.messages), plain: (r) => str(r.messages), right: true },
  { title: "LAST", text: (r) => relative(r.last_at, now), plain: (r) => epoch(r.last_at) },
  {
    title: "PARSE WARNINGS",
    text: (r) => (r.warnings as Item[]).map((w) => `${str(w.code)}=${str(w.count)}`).join(","),
  },
];

export const dayColumns: readonly Column[] = [
  { title: "DAY", text: (d) => str(d.day) },
  { title: "MESSAGES", text: (d) => thousands(d.messages), plain: (d) => str(d.messages), right: true },
  { title: "PASS", text: (d) => share(d.pass, d.messages), plain: (d) => str(d.pass), right: true },
  { title: "FAIL", text: (d) => thousands(d.fail), plain: (d) => str(d.fail), right: true },
  { title: "UNKNOWN", text: (d) => thousands(d.unknown), plain: (d) => str(d.unknown), right: true },
];
