/** Answers questions about archive.db over a read-only connection: pages by key, no reading held open between pages. */
import { isPass, isUnknown } from "../../model/figures.ts";
import { packIp, readIp } from "../../model/ip.ts";
import type { Outcome, Reason, WarningCount } from "../../model/outcome.ts";
import type { ReportKind, TlsPolicyResult } from "../../model/report.ts";
import type {
  ArchiveFilter,
  ArchiveReader,
  CarrierAuth,
  DomainSummary,
  ReceivedMail,
  ReceivedReport,
  ReportDetail,
  ReporterSummary,
} from "../archive.ts";
import { readAuthMore } from "./archive-mails.ts";
import { expirable } from "./archive-retention.ts";
import { makeScan, type ScanIds } from "./archive-scan.ts";
import { dayWhere, mailWhere, reportsIn, reportWhere } from "./archive-select.ts";
import { guarded, openDatabase } from "./open.ts";

interface MailRow {
  readonly id: number;
  readonly received_at: number;
  readonly source: string;
  readonly envelope_from: string | null;
  readonly envelope_to: string;
  readonly remote_ip: string | null;
  readonly header_from: string | null;
  readonly subject: string | null;
  readonly message_id: string | null;
  readonly file_name: string | null;
  readonly size: number;
  readonly state: string;
  readonly outcome: Outcome | null;
  readonly reason: Reason | null;
  readonly detail: string | null;
  readonly auth: CarrierAuth["verdict"];
  readonly auth_domain: string | null;
  readonly auth_more: string | null;
  readonly reports: string | null;
  readonly raw_kept: number;
}

interface ReportRow {
  readonly id: number;
  readonly mail_id: number;
  readonly kind: ReportKind;
  readonly org: string;
  readonly report_id: string;
  readonly domains: string;
  readonly begin: number;
  readonly end: number;
  readonly records: number;
  readonly messages: number;
  readonly pass: number | null;
  readonly received_at: number;
  readonly auth: CarrierAuth["verdict"];
  readonly auth_domain: string | null;
  readonly foreign: number;
  readonly counted: number;
}

/** A report with its head: interned, or its own. */
type ReportDetailRow = ReportRow & {
  readonly report_id_raw: string | null;
  readonly head: string | null;
  readonly shared: string | null;
  readonly part_name: string | null;
  readonly part_type: string | null;
  readonly part_size: number;
};

/** Prepared statements that are kept. */
const MOST_STATEMENTS = 200;

/** The number in `r12` or `m12`; undefined for anything else. */
function numberOf(id: string, letter: "r" | "m"): number | undefined {
  const match = new RegExp(`^${letter}(\\d{1,15})$`).exec(id);
  return match ? Number(match[1]) : undefined;
}

function headOf(row: ReportDetailRow): ReportDetail["head"] {
  if (row.shared === null) return JSON.parse(row.head ?? "null") as ReportDetail["head"];
  const own = {
    reportId: row.report_id,
    reportIdRaw: row.report_id_raw,
    begin: row.begin,
    end: row.end,
  };
  return { ...(JSON.parse(row.shared) as object), ...own } as ReportDetail["head"];
}

function authOf(more: string | null): Pick<ReceivedMail, "authBy" | "authDetail"> {
  const { by, detail } = readAuthMore(more);
  return { authBy: by, authDetail: detail };
}

/** Opens the archive at `path` for reading. Errors: `store.*`. */
export function openArchiveReader(path: string): ArchiveReader {
  const database = openDatabase(path, { readonly: true, cacheKiB: 32_768 });
  const prepare = (sql: string) => database.prepare<unknown[]>(sql);
  const statements = new Map<string, ReturnType<typeof prepare>>();
  const prepared = (sql: string): ReturnType<typeof prepare> => {
    const known = statements.get(sql);
    if (known) return known;
    if (statements.size >= MOST_STATEMENTS) statements.clear();
    const statement = prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
  const all = <T>(sql: string, ...values: readonly unknown[]): T[] =>
    guarded(() => prepared(sql).all(...values) as T[], "archive");
  const one = <T>(sql: string, ...values: readonly unknown[]): T | undefined =>
    guarded(() => prepared(sql).get(...values) as T | undefined, "archive");

  const domainId = (name: string | undefined): number | undefined =>
    name === undefined
      ? undefined
      : (one<{ id: number }>("SELECT id FROM domain WHERE name = ?", name.toLowerCase())?.id ?? -1);
  const sourceId = (ip: string | undefined): number | undefined => {
    if (ip === undefined) return undefined;
    const address = readIp(ip)?.ip;
    if (address === undefined) return -1;
    return one<{ id: number }>("SELECT id FROM source WHERE ip = ?", packIp(address))?.id ?? -1;
  };
  const orgIds = (org: string | undefined): number[] | undefined =>
    org === undefined
      ? undefined
      : all<{ id: number }>("SELECT id FROM org WHERE instr(key, ?) > 0 LIMIT 1000", org.toLowerCase()).map(
          (r) => r.id,
        );

  const warningsOf = (id: number): WarningCount[] =>
    all<WarningCount>("SELECT code, count, detail FROM warning WHERE report_id = ? ORDER BY code", id);

  const toMail = (row: MailRow): ReceivedMail => ({
    id: `m${row.id}`,
    receivedAt: row.received_at,
    source: row.source,
    envelopeFrom: row.envelope_from,
    envelopeTo: JSON.parse(row.envelope_to) as string[],
    remoteIp: row.remote_ip,
    from: row.header_from,
    subject: row.subject,
    messageId: row.message_id,
    fileName: row.file_name,
    size: row.size,
    outcome: row.outcome ?? "spooled",
    reason: row.reason,
    detail: row.detail,
    auth: row.auth,
    authDomain: row.auth_domain,
    ...authOf(row.auth_more),
    reports: row.reports === null ? [] : row.reports.split(",").map((id) => `r${id}`),
    rawKept: row.raw_kept === 1,
  });

  const toReport = (row: ReportRow): ReceivedReport => ({
    id: `r${row.id}`,
    mailId: `m${row.mail_id}`,
    kind: row.kind,
    orgName: row.org,
    reportId: row.report_id,
    policyDomain: row.domains || null,
    begin: row.begin,
    end: row.end,
    records: row.records,
    messages: row.messages,
    passMessages: row.pass,
    receivedAt: row.received_at,
    auth: row.auth,
    authDomain: row.auth_domain,
    foreign: row.foreign === 1,
    counted: row.counted === 1,
    warnings: warningsOf(row.id),
  });

  const MAIL = `SELECT mail.*, (SELECT group_concat(id) FROM report WHERE mail_id = mail.id) AS reports,
    EXISTS (SELECT 1 FROM raw WHERE mail_id = mail.id) AS raw_kept FROM mail`;
  const REPORT = "SELECT report.*, org.name AS org FROM report JOIN org ON org.id = org_id";

  const scan = makeScan(database);
  const idsOf = (filter: ArchiveFilter): ScanIds => ({
    domainId: domainId(filter.domain),
    sourceId: sourceId(filter.source),
    orgIds: orgIds(filter.org),
  });

  return {
    async received(filter, page) {
      const { sql, values } = mailWhere(filter, domainId(filter.domain));
      const before = page.after === undefined ? Number.MAX_SAFE_INTEGER : (numberOf(page.after, "m") ?? 0);
      const rows = all<MailRow>(
        `${MAIL} WHERE ${sql} AND mail.id < ? ORDER BY mail.id DESC LIMIT ?`,
        ...values,
        before,
        page.limit + 1,
      );
      const items = rows.slice(0, page.limit).map(toMail);
      return { items, next: rows.length > page.limit ? items.at(-1)!.id : null };
    },
    async receivedMail(id) {
      const row = one<MailRow>(`${MAIL} WHERE mail.id = ?`, numberOf(id, "m") ?? -1);
      return row && toMail(row);
    },
    async rawMail(id) {
      return one<{ body: Buffer }>("SELECT body FROM raw WHERE mail_id = ?", numberOf(id, "m") ?? -1)?.body;
    },
    async reports(filter, page) {
      const where = reportWhere(filter, domainId(filter.domain));
      const windowed = filter.since !== undefined || filter.until !== undefined;
      const from = windowed ? reportsIn(filter, ["id"], where) : undefined;
      const before = page.after === undefined ? Number.MAX_SAFE_INTEGER : (numberOf(page.after, "r") ?? 0);
      const rows = from
        ? all<ReportRow>(
            `${REPORT} WHERE report.id IN (SELECT id FROM ${from.sql} WHERE id < ? ORDER BY id DESC LIMIT ?)
             ORDER BY report.id DESC`,
            ...from.values,
            before,
            page.limit + 1,
          )
        : all<ReportRow>(
            `${REPORT} WHERE ${where.sql} AND report.id < ? ORDER BY report.id DESC LIMIT ?`,
            ...where.values,
            before,
            page.limit + 1,
          );
      const items = rows.slice(0, page.limit).map(toReport);
      return { items, next: rows.length > page.limit ? items.at(-1)!.id : null };
    },
    async report(id) {
      const row = one<ReportDetailRow>(
        `SELECT report.*, org.name AS org, head.body AS shared FROM report JOIN org ON org.id = org_id
           LEFT JOIN head ON head.id = head_id WHERE report.id = ?`,
        numberOf(id, "r") ?? -1,
      );
      if (!row) return undefined;
      const part = { name: row.part_name, mediaType: row.part_type, size: row.part_size };
      return { ...toReport(row), head: headOf(row), part };
    },
    async records(filter, page) {
      const ids = idsOf(filter);
      return guarded(
        () =>
          filter.reportId === undefined
            ? scan.records(filter, ids, page)
            : scan.recordsOf(numberOf(filter.reportId, "r") ?? -1, filter, ids, page),
        "archive",
      );
    },
    async tlsPolicies(reportId) {
      const id = numberOf(reportId, "r") ?? -1;
      const policies = all<{
        seq: number;
        type: TlsPolicyResult["policyType"];
        domain: string | null;
        successes: number;
        failures: number;
        body: string;
      }>("SELECT * FROM tls_policy WHERE report_id = ? ORDER BY seq", id);
      return policies.map((p): TlsPolicyResult => {
        const more = JSON.parse(p.body) as Pick<
          TlsPolicyResult,
          "policyTypeRaw" | "policyStrings" | "mxHosts"
        >;
        const details = all<TlsPolicyResult["details"][number]>(
          `SELECT result_type AS resultType, sending_ip AS sendingMtaIp, mx AS receivingMxHostname, helo AS receivingMxHelo,
             receiving_ip AS receivingIp, sessions AS failedSessions, info AS additionalInformation, reason_code AS failureReasonCode
           FROM tls_failure WHERE report_id = ? AND policy_seq = ? ORDER BY seq`,
          id,
          p.seq,
        );
        return {
          policyType: p.type,
          policyDomain: p.domain,
          successes: p.successes,
          failures: p.failures,
          details,
          ...more,
        };
      });
    },
    async domains(filter) {
      const { sql, values } = dayWhere(filter, "daily_total", domainId(filter.domain));
      const sums = all<{ domain_id: number; ev: number; messages: number }>(
        `SELECT domain_id, ev, sum(messages) AS messages FROM daily_total WHERE ${sql} GROUP BY domain_id, ev`,
        ...values,
      );
      const tlsWhere = dayWhere(filter, "tls_daily", domainId(filter.domain));
      const tls = all<{ domain_id: number; successes: number; failures: number }>(
        `SELECT domain_id, sum(successes) AS successes, sum(failures) AS failures FROM tls_daily WHERE ${tlsWhere.sql} GROUP BY domain_id`,
        ...tlsWhere.values,
      );
      const ids = [...new Set([...sums, ...tls].map((r) => r.domain_id))];
      const found = ids.map((id): DomainSummary => {
        const own = sums.filter((s) => s.domain_id === id);
        const total = (test: (ev: number) => boolean): number =>
          own.filter((s) => test(s.ev)).reduce((n, s) => n + s.messages, 0);
        const t = tls.find((r) => r.domain_id === id);
        const about = one<{ reports: number; reporters: number; last: number | null }>(
          `SELECT sum(reports) AS reports, count(*) AS reporters, max(last_received) AS last FROM domain_org
           WHERE domain_id = ? AND reports > 0`,
          id,
        );
        const { name, policy } = one<{ name: string; policy: string | null }>(
          "SELECT name, policy FROM domain WHERE id = ?",
          id,
        )!;
        return {
          domain: name,
          policy,
          messages: total(() => true),
          pass: total(isPass),
          fail: total((ev) => !isPass(ev) && !isUnknown(ev)),
          unknown: total(isUnknown),
          reports: about?.reports ?? 0,
          reporters: about?.reporters ?? 0,
          lastReportAt: about?.last ?? null,
          tlsSessions: t ? t.successes + t.failures : 0,
          tlsFailures: t?.failures ?? 0,
        };
      });
      return found.sort((a, b) => b.messages - a.messages || (a.domain < b.domain ? -1 : 1));
    },
    async sources(filter, limit) {
      return guarded(() => scan.sources(filter, idsOf(filter), limit), "archive");
    },
    async reporters(filter) {
      const within = reportsIn(filter, ["id"], reportWhere(filter, domainId(filter.domain)));
      const rows = all<{ id: number; org: string; reports: number; messages: number; last: number }>(
        `SELECT org.id, org.name AS org, count(*) AS reports, sum(messages) AS messages, max(received_at) AS last
         FROM report JOIN org ON org.id = org_id WHERE report.id IN (SELECT id FROM ${within.sql})
         GROUP BY org.id ORDER BY reports DESC, org.key LIMIT 1000`,
        ...within.values,
      );
      return rows.map(
        ({ id, ...row }): ReporterSummary => ({
          ...row,
          warnings: all<WarningCount>(
            `SELECT code, sum(warning.count) AS count, max(detail) AS detail FROM warning JOIN report ON report.id = warning.report_id
           WHERE org_id = ? GROUP BY code ORDER BY count DESC`,
            id,
          ),
        }),
      );
    },
    async days(filter) {
      const orgs = orgIds(filter.org);
      const table = orgs ? "daily" : "daily_total";
      const { sql, values } = dayWhere(filter, table, domainId(filter.domain), orgs);
      const rows = all<{ day: number; ev: number; messages: number }>(
        `SELECT day, ev, sum(messages) AS messages FROM ${table} WHERE ${sql} GROUP BY day, ev ORDER BY day`,
        ...values,
      );
      const days = new Map<
        number,
        { day: number; messages: number; pass: number; fail: number; unknown: number }
      >();
      for (const { day, ev, messages } of rows) {
        const entry = days.get(day) ?? { day, messages: 0, pass: 0, fail: 0, unknown: 0 };
        entry.messages += messages;
        if (isPass(ev)) entry.pass += messages;
        else if (isUnknown(ev)) entry.unknown += messages;
        else entry.fail += messages;
        days.set(day, entry);
      }
      return [...days.values()];
    },
    async stats() {
      return Object.fromEntries(
        all<{ name: string; value: number }>("SELECT name, value FROM counter").map(({ name, value }) => [
          name,
          value,
        ]),
      );
    },
    async expirable(now, policy) {
      return guarded(() => expirable(database, now, policy), "archive");
    },
    async size() {
      const pragma = (name: string): number => Number(database.pragma(name, { simple: true }));
      const raw = one<{ mails: number; bytes: number }>(
        "SELECT count(*) AS mails, coalesce(sum(length(body)), 0) AS bytes FROM raw",
      )!;
      return {
        page_size: pragma("page_size"),
        pages: pragma("page_count"),
        free_pages: pragma("freelist_count"),
        raw_mails: raw.mails,
        raw_bytes: raw.bytes,
      };
    },
    async close() {
      database.close();
    },
  };
}
