/** A composed TLS report, parsed again by our own reader and by JSON.parse, and compared. */
import type { TlsHead, TlsPolicyResult } from "../../model/report.ts";
import { readTls } from "../tlsrpt/read.ts";
import type { TlsDocument, TlsReport, TlsReportPolicy } from "../tlsrpt/write.ts";
import { comparing, complete, differs, PART, readBackContext, same } from "./read-back.ts";

/** Throws `compose.readback_differs` unless the JSON says exactly what `value` says, which was made of `document`. */
export function readBackTls(bytes: Uint8Array, value: TlsReport, document: TlsDocument): void {
  if (JSON.stringify(JSON.parse(Buffer.from(bytes).toString())) !== JSON.stringify(value))
    differs("the JSON of a TLS report");
  let policies = 0;
  const sink = comparing({
    head(head) {
      const { reportId, begin, end } = head as TlsHead;
      same("report-id", reportId, document.reportId);
      same("start-datetime", begin, document.begin);
      same("end-datetime", end, document.end);
    },
    policy(policy) {
      const wanted = value.policies[policies++];
      if (!wanted) differs(`more than ${policies - 1} policies`);
      comparePolicy(`policy ${policies}`, policy, wanted);
    },
  });
  const reading = readTls(bytes, readBackContext(document.end), sink, PART);
  let sessions = 0;
  let rows = 0;
  for (const { success, failure } of document.rows) {
    rows++;
    sessions += success + failure;
  }
  complete(reading, rows, sessions);
}

function comparePolicy(
  at: string,
  read: TlsPolicyResult,
  { policy, summary, ...rest }: TlsReportPolicy,
): void {
  same(`${at} policy-type`, read.policyType, policy["policy-type"]);
  same(`${at} successful sessions`, read.successes, summary["total-successful-session-count"]);
  same(`${at} failed sessions`, read.failures, summary["total-failure-session-count"]);
  const details = rest["failure-details"] ?? [];
  same(`${at} failure-details`, read.details.length, details.length);
  for (const [i, detail] of details.entries()) {
    const found = read.details[i]!;
    same(`${at} detail ${i + 1} result-type`, found.resultType, detail["result-type"]);
    same(`${at} detail ${i + 1} sessions`, found.failedSessions, detail["failed-session-count"]);
  }
}
