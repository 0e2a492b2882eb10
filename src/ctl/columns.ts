/** The columns of each list. */
import { formatDuration } from "../lib/units.ts";
import { type Column, day, epoch, type Item, relative, str, thousands } from "./render.ts";

const last = (item: Item, name: string): string => str((item.last as Item | null)?.[name]);

const runstate = (state: unknown): string => (state === "held" ? "pending" : str(state));

/** smtpctl's fourteen fields, and three more after them. */
export const queueColumns = (now: number): readonly Column[] => [
  { title: "ENVELOPE", text: (e) => str(e.id) },
  { title: "KIND", drop: 8, text: (e) => str(e.kind) },
  { title: "REPORT FOR", cut: 16, drop: 7, text: (e) => str(e.domain) },
  { title: "RECIPIENT", cut: 20, text: (e) => str(e.rcpt) },
  { title: "STATE", text: (e) => str(e.state) },
  { title: "TRIES", drop: 6, text: (e) => str(e.attempts), right: true },
  { title: "NEXT", drop: 1, text: (e) => (e.state === "pending" ? relative(e.next_at, now) : "-") },
  { title: "EXPIRES", drop: 9, text: (e) => relative(e.expires_at, now) },
  { title: "LAST REPLY", cut: 20, text: (e) => last(e, "text") },
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
  { title: "DOMAIN", cut: 16, drop: 9, text: (r) => str(r.domain) },
  { title: "KIND", drop: 8, text: (r) => str(r.kind) },
  { title: "FROM", drop: 5, text: (r) => day(r.begin), plain: (r) => epoch(r.begin) },
  { title: "TO", drop: 6, text: (r) => day(r.end), plain: (r) => epoch(r.end) },
  { title: "DUE", drop: 1, text: (r) => relative(r.due, now), plain: (r) => epoch(r.due) },
  { title: "ROWS", drop: 7, text: (r) => thousands(r.rows), plain: (r) => str(r.rows), right: true },
  {
    title: "MESSAGES",
    drop: 4,
    text: (r) => thousands(r.messages),
    plain: (r) => str(r.messages),
    right: true,
  },
  { title: "STATE", text: (r) => outgoingState(r) },
];

/** Why it was dropped, or that composing it fails. */
function outgoingState({ state, reason, failures }: Item): string {
  if (reason) return `${str(state)} (${str(reason)})`;
  return Number(failures) > 0 && state !== "composed" ? `${str(state)} (failed)` : str(state);
}

/** The first ids, and how many more there are. */
const someIds = (ids: readonly string[]): string =>
  ids.length <= 2 ? ids.join(",") : `${ids[0]} and ${ids.length - 1} more`;

export const jobColumns = (now: number): readonly Column[] => [
  { title: "NAME", text: (j) => str(j.name) },
  { title: "STATE", text: (j) => str(j.state) },
  {
    title: "LAST",
    text: (j) => relative(lastRun(j)?.begun_at, now),
    plain: (j) => epoch(lastRun(j)?.begun_at),
  },
  { title: "TOOK", drop: 1, text: (j) => took(lastRun(j)?.took_ms), plain: (j) => str(lastRun(j)?.took_ms) },
  { title: "RESULT", text: (j) => str(lastRun(j)?.result ?? "-"), plain: (j) => str(lastRun(j)?.result) },
  { title: "NEXT", text: (j) => relative(j.next_at, now), plain: (j) => epoch(j.next_at) },
  { title: "SCHEDULE", drop: 2, text: (j) => str(j.schedule) },
  { title: "ERROR", cut: 20, text: (j) => str((lastRun(j)?.error as Item | null)?.message) },
];

const lastRun = (job: Item): Item | null => job.last as Item | null;

/** Milliseconds as people read them. */
export const took = (ms: unknown): string =>
  typeof ms !== "number" ? "-" : ms < 1000 ? `${ms}ms` : formatDuration(ms);

export const receivedColumns = (now: number): readonly Column[] => [
  { title: "MAIL", text: (m) => str(m.id) },
  {
    title: "RECEIVED",
    drop: 1,
    text: (m) => relative(m.received_at, now),
    plain: (m) => epoch(m.received_at),
  },
  { title: "FROM", cut: 20, drop: 2, text: (m) => str(m.from ?? m.envelope_from ?? m.file_name) },
  { title: "OUTCOME", text: (m) => str(m.outcome) },
  { title: "REASON", text: (m) => str(m.reason) },
  {
    title: "REPORTS",
    drop: 6,
    text: (m) => someIds(m.reports as string[]),
    plain: (m) => (m.reports as string[]).join(","),
  },
  { title: "AUTH", drop: 7, text: (m) => str(m.auth) },
  { title: "AUTH DOMAIN", cut: 16, drop: 8, text: (m) => str(m.auth_domain) },
  { title: "SIZE", drop: 9, text: (m) => thousands(m.size), plain: (m) => str(m.size), right: true },
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
  { title: "KIND", drop: 4, text: (r) => str(r.kind) },
  { title: "ORGANISATION", cut: 12, text: (r) => str(r.org_name) },
  { title: "DOMAIN", cut: 16, text: (r) => str(r.policy_domain) },
  { title: "BEGIN", drop: 1, text: (r) => day(r.begin), plain: (r) => epoch(r.begin) },
  { title: "END", drop: 7, text: (r) => day(r.end), plain: (r) => epoch(r.end) },
  { title: "ROWS", drop: 6, text: (r) => thousands(r.records), plain: (r) => str(r.records), right: true },
  { title: "MESSAGES", text: (r) => thousands(r.messages), plain: (r) => str(r.messages), right: true },
  { title: "PASS", text: (r) => thousands(r.pass_messages), plain: (r) => str(r.pass_messages), right: true },
  { title: "AUTH", drop: 5, text: authFlags },
  { title: "AUTH DOMAIN", cut: 16, drop: 9, text: (r) => str(r.auth_domain) },
  {
    title: "RECEIVED",
    drop: 8,
    text: (r) => relative(r.received_at, now),
    plain: (r) => epoch(r.received_at),
  },
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
  { ...word("ORGANISATION", "org_name"), cut: 12, drop: 1 },
  { title: "DOMAIN", cut: 16, text: (r) => str(r.tls_policy_domain ?? r.policy_domain) },
  { ...word("POLICY", "tls_policy_type"), drop: 5 },
  { title: "BEGIN", drop: 2, text: (r) => day(r.begin), plain: (r) => epoch(r.begin) },
  { title: "END", drop: 7, text: (r) => day(r.end), plain: (r) => epoch(r.end) },
  number("OK", "tls_successes"),
  number("FAILED", "tls_failures"),
  {
    title: "RESULT TYPES",
    cut: 20,
    drop: 3,
    text: (r) =>
      (r.tls_result_types as Item[]).map((t) => `${str(t.result_type)}=${str(t.sessions)}`).join(","),
  },
  { title: "AUTH", drop: 6, text: authFlags },
  { ...when("RECEIVED", "received_at", now), drop: 8 },
];

/** A failure or abuse report. */
export const failureColumns = (now: number): readonly Column[] => [
  word("REPORT", "id"),
  { ...when("ARRIVAL", "arrival_at", now), drop: 1 },
  { ...word("DOMAIN", "policy_domain"), cut: 16 },
  word("SOURCE", "source_ip"),
  word("FEEDBACK TYPE", "feedback_type"),
  { ...word("AUTH FAILURE", "auth_failure"), drop: 5 },
  { ...word("DELIVERY", "delivery_result"), drop: 6 },
  { ...word("MAIL FROM", "original_mail_from"), cut: 16, drop: 8 },
  { ...word("FROM", "sample_from"), cut: 16, drop: 4 },
  { ...word("SUBJECT", "sample_subject"), cut: 16, drop: 3 },
  { ...number("INCIDENTS", "incidents"), drop: 9 },
  { title: "AUTH", drop: 7, text: authFlags },
  { ...when("RECEIVED", "received_at", now), drop: 10 },
];

/** One recipient of a delivery status notification. */
export const deliveryColumns = (now: number): readonly Column[] => [
  word("REPORT", "id"),
  { ...when("ARRIVAL", "arrival_at", now), drop: 1 },
  { ...word("RECIPIENT", "recipient"), cut: 20 },
  word("ACTION", "action"),
  word("STATUS", "status"),
  { ...word("REMOTE MTA", "remote_mta"), cut: 16, drop: 5 },
  { ...word("DIAGNOSTIC", "diagnostic"), cut: 20, drop: 2 },
  { ...word("REPORTING MTA", "reporting_mta"), cut: 16, drop: 6 },
  { ...word("MESSAGE-ID", "original_message_id"), drop: 8 },
  { ...when("RECEIVED", "received_at", now), drop: 9 },
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
  { title: "HEADER FROM", cut: 14, text: (r) => str(r.header_from) },
  { title: "ENVELOPE FROM", cut: 16, drop: 8, text: (r) => str(r.envelope_from) },
  {
    title: "DKIM RESULTS",
    cut: 20,
    drop: 5,
    text: (r) => results(r.dkim_results, "domain", "selector", "result"),
  },
  { title: "SPF RESULTS", cut: 20, drop: 6, text: (r) => results(r.spf_results, "domain", "result") },
  { title: "AUTH", drop: 7, text: (r) => (r.counted ? str(r.auth) : `${str(r.auth)},uncounted`) },
];

/** A percentage; 100.0% is all, and 0.0% is none. */
export function share(part: unknown, whole: unknown): string {
  const [some, all] = [Number(part), Number(whole)];
  if (!(all > 0)) return "-";
  const percent = (some / all) * 100;
  if (some < all && percent >= 99.95) return "99.9%";
  return some > 0 && percent < 0.05 ? "0.1%" : `${percent.toFixed(1)}%`;
}

export const domainColumns = (now: number): readonly Column[] => [
  { title: "DOMAIN", cut: 30, text: (d) => str(d.domain) },
  { title: "POLICY", drop: 3, text: (d) => str(d.policy) },
  { title: "MESSAGES", text: (d) => thousands(d.messages), plain: (d) => str(d.messages), right: true },
  { title: "PASS", text: (d) => share(d.pass, d.messages), plain: (d) => str(d.pass), right: true },
  { title: "FAIL", text: (d) => thousands(d.fail), plain: (d) => str(d.fail), right: true },
  { title: "UNKNOWN", drop: 5, text: (d) => thousands(d.unknown), plain: (d) => str(d.unknown), right: true },
  {
    title: "TLS SESSIONS",
    drop: 6,
    text: (d) => thousands(d.tls_sessions),
    plain: (d) => str(d.tls_sessions),
    right: true,
  },
  {
    title: "TLS FAIL",
    drop: 4,
    text: (d) => thousands(d.tls_failures),
    plain: (d) => str(d.tls_failures),
    right: true,
  },
  { title: "REPORTERS", drop: 7, text: (d) => str(d.reporters), right: true },
  {
    title: "LAST REPORT",
    drop: 2,
    text: (d) => relative(d.last_report_at, now),
    plain: (d) => epoch(d.last_report_at),
  },
];

export const sourceColumns: readonly Column[] = [
  { title: "SOURCE", text: (s) => str(s.source) },
  { title: "MESSAGES", text: (s) => thousands(s.messages), plain: (s) => str(s.messages), right: true },
  { title: "PASS", text: (s) => share(s.pass, s.messages), plain: (s) => str(s.pass), right: true },
  { title: "FAIL", text: (s) => thousands(s.fail), plain: (s) => str(s.fail), right: true },
  { title: "UNKNOWN", drop: 7, text: (s) => thousands(s.unknown), plain: (s) => str(s.unknown), right: true },
  {
    title: "DKIM",
    drop: 3,
    text: (s) => share(s.dkim_pass, s.messages),
    plain: (s) => str(s.dkim_pass),
    right: true,
  },
  {
    title: "SPF",
    drop: 4,
    text: (s) => share(s.spf_pass, s.messages),
    plain: (s) => str(s.spf_pass),
    right: true,
  },
  {
    title: "QUARANTINED",
    drop: 6,
    text: (s) => thousands(s.quarantine),
    plain: (s) => str(s.quarantine),
    right: true,
  },
  { title: "REJECTED", drop: 5, text: (s) => thousands(s.reject), plain: (s) => str(s.reject), right: true },
  { title: "FIRST", drop: 8, text: (s) => day(s.first), plain: (s) => epoch(s.first) },
  { title: "LAST", drop: 1, text: (s) => day(s.last), plain: (s) => epoch(s.last) },
];

export const reporterColumns = (now: number): readonly Column[] => [
  { title: "ORGANISATION", cut: 16, text: (r) => str(r.org_name) },
  { title: "REPORTS", text: (r) => str(r.reports), right: true },
  {
    title: "WITH WARNINGS",
    drop: 2,
    text: (r) => share(r.repaired, r.reports),
    plain: (r) => str(r.repaired),
    right: true,
  },
  { title: "MESSAGES", text: (r) => thousands(r.messages), plain: (r) => str(r.messages), right: true },
  { title: "LAST", text: (r) => relative(r.last_at, now), plain: (r) => epoch(r.last_at) },
  {
    title: "PARSE WARNINGS",
    cut: 20,
    drop: 3,
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
