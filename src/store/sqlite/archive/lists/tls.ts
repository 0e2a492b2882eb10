/** TLS reports, policy by policy; a report without policies is one row. */
import type { ArchiveRow } from "../../../../model/lists/lists.ts";
import type { ReceivedReport } from "../../../archive/reader.ts";
import { policyOf, policyRows } from "../report-detail.ts";
import type { Ask } from "../statement-cache.ts";
import { rowsOfReports } from "./reports.ts";
import type { ListSource, SourceTools } from "./source.ts";

/** Maximum number of result types listed of one policy, most sessions first; the report itself has all. */
const MOST_RESULT_TYPES = 20;
const RESULT_TYPES = `SELECT result_type, sum(sessions) AS sessions FROM tls_failure
  WHERE report_id = ? AND policy_seq = ? GROUP BY result_type ORDER BY sessions DESC, result_type LIMIT ?`;

const NO_POLICY = {
  tls_policy_type: null,
  tls_policy_domain: null,
  tls_policy_strings: [],
  tls_mx_hosts: [],
  tls_successes: null,
  tls_failures: null,
  tls_result_types: [],
} as const;

function rowsOf(ask: Ask, report: ReceivedReport, id: number): ArchiveRow<"tls">[] {
  const rows = policyRows(ask, id).map((row) => {
    const policy = policyOf(row);
    return {
      ...report,
      tls_policy_type: policy.policyTypeRaw ?? policy.policyType,
      tls_policy_domain: policy.policyDomain,
      tls_policy_strings: policy.policyStrings,
      tls_mx_hosts: policy.mxHosts,
      tls_successes: policy.successes,
      tls_failures: policy.failures,
      tls_result_types: ask.all<{ result_type: string; sessions: number }>(
        RESULT_TYPES,
        id,
        row.seq,
        MOST_RESULT_TYPES,
      ),
    };
  });
  return rows.length > 0 ? rows : [{ ...report, ...NO_POLICY }];
}

export const makeTls =
  (tools: SourceTools): ListSource<"tls"> =>
  (filter, page) =>
    rowsOfReports(tools, { ...filter, kind: "tls" }, page, (report, id) => rowsOf(tools.ask, report, id));
