/** Everything about one report: its head, the part that it lay in, the policies of a TLS report. */
import type { TlsPolicyResult } from "../../../model/report.ts";
import type { ReportDetail } from "../../archive/reader.ts";
import { REPORT_COLUMNS, toReport } from "./lists/reports.ts";
import { type Ask, numberOf } from "./statement-cache.ts";

/** The head of a report: interned, or its own. */
interface HeadRow {
  readonly report_id: string;
  readonly report_id_raw: string | null;
  readonly begin: number;
  readonly end: number;
  readonly head: string | null;
  readonly shared: string | null;
}

interface PartRow {
  readonly part_name: string | null;
  readonly part_type: string | null;
  readonly part_size: number;
}

export interface PolicyRow {
  readonly seq: number;
  readonly type: TlsPolicyResult["policyType"];
  readonly domain: string | null;
  readonly successes: number;
  readonly failures: number;
  readonly body: string;
}

const HEAD = `SELECT report.report_id, report_id_raw, "begin", "end", report.head, head.body AS shared,
    part_name, part_type, part_size
  FROM report LEFT JOIN head ON head.id = head_id WHERE report.id = ?`;
const REPORT = `SELECT ${REPORT_COLUMNS} FROM report JOIN org ON org.id = org_id WHERE report.id = ?`;
const DETAILS = `SELECT result_type AS resultType, sending_ip AS sendingMtaIp, mx AS receivingMxHostname,
    helo AS receivingMxHelo, receiving_ip AS receivingIp, sessions AS failedSessions, info AS additionalInformation,
    reason_code AS failureReasonCode
  FROM tls_failure WHERE report_id = ? AND policy_seq = ? ORDER BY seq`;

function headOf(row: HeadRow): ReportDetail["head"] {
  if (row.shared === null) return JSON.parse(row.head ?? "null") as ReportDetail["head"];
  const own = {
    reportId: row.report_id,
    reportIdRaw: row.report_id_raw,
    begin: row.begin,
    end: row.end,
  };
  return { ...(JSON.parse(row.shared) as object), ...own } as ReportDetail["head"];
}

/** The head of a report that is in the archive. */
export const reportHead = ({ one }: Ask, id: number): ReportDetail["head"] => headOf(one<HeadRow>(HEAD, id)!);

/** One report with its head. */
export function reportDetail({ one }: Ask, id: string): ReportDetail | undefined {
  const number = numberOf(id, "r") ?? -1;
  const report = one<object>(REPORT, number);
  const row = one<HeadRow & PartRow>(HEAD, number);
  if (!report || !row) return undefined;
  const part = { name: row.part_name, mediaType: row.part_type, size: row.part_size };
  return { ...toReport(report), head: headOf(row), part };
}

/** The policies of a TLS report, in their order. */
export const policyRows = ({ all }: Ask, id: number): PolicyRow[] =>
  all<PolicyRow>("SELECT * FROM tls_policy WHERE report_id = ? ORDER BY seq", id);

/** A policy without its failure details. */
export function policyOf({ type, domain, successes, failures, body }: PolicyRow) {
  const more = JSON.parse(body) as Pick<TlsPolicyResult, "policyTypeRaw" | "policyStrings" | "mxHosts">;
  return { policyType: type, policyDomain: domain, successes, failures, ...more };
}

/** The policies of a TLS report with their failure details. */
export function tlsPolicies(ask: Ask, reportId: string): TlsPolicyResult[] {
  const id = numberOf(reportId, "r") ?? -1;
  return policyRows(ask, id).map((row) => ({
    ...policyOf(row),
    details: ask.all<TlsPolicyResult["details"][number]>(DETAILS, id, row.seq),
  }));
}
