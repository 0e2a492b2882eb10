/** Lists of received reports: of all kinds with common fields, and of each kind with its own fields. */

import type { MessageAuth } from "../../../model/message-auth.ts";
import type { WarningCount } from "../../../model/outcome.ts";
import type { DsnReport, FeedbackReport, ReportKind, TlsPolicyResult } from "../../../model/report.ts";
import type {
  ArchiveFilter,
  ArchivePage,
  ArchivePaged,
  DeliveryRow,
  FeedbackRow,
  ReceivedReport,
  ReportDetail,
  TlsRow,
} from "../../archive/reader.ts";
import { reportsIn, reportWhere } from "./select.ts";
import { type Ask, numberOf } from "./statement-cache.ts";

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
  readonly auth: MessageAuth["verdict"];
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

interface PolicyRow {
  readonly seq: number;
  readonly type: TlsPolicyResult["policyType"];
  readonly domain: string | null;
  readonly successes: number;
  readonly failures: number;
  readonly body: string;
}

/** Reports looked at together by the lists of one kind. */
const REPORTS_AT_ONCE = 200;
/** Maximum number of result types listed of one policy, most sessions first; the report itself has all. */
const MOST_RESULT_TYPES = 20;

const REPORT = "SELECT report.*, org.name AS org FROM report JOIN org ON org.id = org_id";
const DETAIL = `SELECT report.*, org.name AS org, head.body AS shared FROM report JOIN org ON org.id = org_id
   LEFT JOIN head ON head.id = head_id WHERE report.id = ?`;

export interface ReportLists {
  reports(filter: ArchiveFilter, page: ArchivePage): ArchivePaged<ReceivedReport>;
  report(id: string): ReportDetail | undefined;
  tlsPolicies(reportId: string): TlsPolicyResult[];
  tls(filter: ArchiveFilter, page: ArchivePage): ArchivePaged<TlsRow>;
  feedback(filter: ArchiveFilter, page: ArchivePage): ArchivePaged<FeedbackRow>;
  deliveries(filter: ArchiveFilter, page: ArchivePage): ArchivePaged<DeliveryRow>;
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

/** @param domainId of a name; undefined when none is asked for */
export function makeReportLists(
  { all, one }: Ask,
  domainId: (name: string | undefined) => number | undefined,
): ReportLists {
  const warningsOf = (id: number): WarningCount[] =>
    all<WarningCount>("SELECT code, count, detail FROM warning WHERE report_id = ? ORDER BY code", id);

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

  /** The newest reports below an id. */
  function below(filter: ArchiveFilter, id: number, limit: number): ReportRow[] {
    const where = reportWhere(filter, domainId(filter.domain));
    if (filter.since === undefined && filter.until === undefined)
      return all<ReportRow>(
        `${REPORT} WHERE ${where.sql} AND report.id < ? ORDER BY report.id DESC LIMIT ?`,
        ...where.values,
        id,
        limit,
      );
    const within = reportsIn(filter, ["id"], where);
    return all<ReportRow>(
      `${REPORT} WHERE report.id IN (SELECT id FROM ${within.sql} WHERE id < ? ORDER BY id DESC LIMIT ?)
       ORDER BY report.id DESC`,
      ...within.values,
      id,
      limit,
    );
  }

  const detailRow = (id: number): ReportDetailRow | undefined => one<ReportDetailRow>(DETAIL, id);

  const detail = (id: number): ReportDetail | undefined => {
    const row = detailRow(id);
    if (!row) return undefined;
    const part = { name: row.part_name, mediaType: row.part_type, size: row.part_size };
    return { ...toReport(row), head: headOf(row), part };
  };

  /**
   * Rows of reports, newest report first: a report may have several, and a page may end between them.
   * Keys are r12.3: the fourth row of report r12.
   */
  function expanded<T>(
    filter: ArchiveFilter,
    page: ArchivePage,
    rowsOf: (report: ReceivedReport) => readonly T[],
  ): ArchivePaged<T> {
    const [report = "", row = "-1"] = (page.after ?? "").split(".");
    const afterId = numberOf(report, "r");
    let from = afterId === undefined ? Number.MAX_SAFE_INTEGER : afterId + 1;
    let last: string | null = null;
    const items: T[] = [];
    for (;;) {
      const found = below(filter, from, Math.min(REPORTS_AT_ONCE, page.limit + 1));
      for (const one of found) {
        const rows = rowsOf(toReport(one));
        for (let i = one.id === afterId ? Number(row) + 1 : 0; i < rows.length; i++) {
          if (items.length >= page.limit) return { items, next: last };
          items.push(rows[i]!);
          last = `r${one.id}.${i}`;
        }
        from = one.id;
      }
      if (found.length === 0) return { items, next: null };
    }
  }

  /** The head of a report that is in the archive. */
  const headBy = ({ id }: ReceivedReport): ReportDetail["head"] => headOf(detailRow(numberOf(id, "r")!)!);

  const policyRows = (id: number): PolicyRow[] =>
    all<PolicyRow>("SELECT * FROM tls_policy WHERE report_id = ? ORDER BY seq", id);

  /** A policy without its failure details. */
  function policyOf({ type, domain, successes, failures, body }: PolicyRow) {
    const more = JSON.parse(body) as Pick<TlsPolicyResult, "policyTypeRaw" | "policyStrings" | "mxHosts">;
    return { policyType: type, policyDomain: domain, successes, failures, ...more };
  }

  function toTls(report: ReceivedReport): TlsRow[] {
    const id = numberOf(report.id, "r")!;
    const rows = policyRows(id).map((row): TlsRow => {
      const resultTypes = all<{ resultType: string; sessions: number }>(
        `SELECT result_type AS resultType, sum(sessions) AS sessions FROM tls_failure
         WHERE report_id = ? AND policy_seq = ? GROUP BY result_type ORDER BY sessions DESC, result_type LIMIT ?`,
        id,
        row.seq,
        MOST_RESULT_TYPES,
      );
      return { report, policy: policyOf(row), resultTypes };
    });
    return rows.length > 0 ? rows : [{ report, policy: null, resultTypes: [] }];
  }

  function toFeedback(report: ReceivedReport): FeedbackRow[] {
    const { fields: _fields, sample, ...feedback } = headBy(report) as FeedbackReport;
    if (sample === null) return [{ report, feedback, sample }];
    const { headers: _headers, body: _body, ...about } = sample;
    return [{ report, feedback, sample: about }];
  }

  function toDeliveries(report: ReceivedReport): DeliveryRow[] {
    const { recipients, ...dsn } = headBy(report) as DsnReport;
    return (recipients.length > 0 ? recipients : [null]).map((recipient) => ({ report, dsn, recipient }));
  }

  return {
    reports(filter, page) {
      const before = page.after === undefined ? Number.MAX_SAFE_INTEGER : (numberOf(page.after, "r") ?? 0);
      const rows = below(filter, before, page.limit + 1);
      const items = rows.slice(0, page.limit).map(toReport);
      return { items, next: rows.length > page.limit ? items.at(-1)!.id : null };
    },
    report: (id) => detail(numberOf(id, "r") ?? -1),
    tlsPolicies(reportId) {
      const id = numberOf(reportId, "r") ?? -1;
      return policyRows(id).map((row): TlsPolicyResult => {
        const details = all<TlsPolicyResult["details"][number]>(
          `SELECT result_type AS resultType, sending_ip AS sendingMtaIp, mx AS receivingMxHostname, helo AS receivingMxHelo,
             receiving_ip AS receivingIp, sessions AS failedSessions, info AS additionalInformation, reason_code AS failureReasonCode
           FROM tls_failure WHERE report_id = ? AND policy_seq = ? ORDER BY seq`,
          id,
          row.seq,
        );
        return { ...policyOf(row), details };
      });
    },
    tls: (filter, page) => expanded({ ...filter, kind: "tls" }, page, toTls),
    feedback: (filter, page) =>
      expanded({ ...filter, kind: filter.kind === "arf" ? "arf" : "failure" }, page, toFeedback),
    deliveries: (filter, page) => expanded({ ...filter, kind: "dsn" }, page, toDeliveries),
  };
}
