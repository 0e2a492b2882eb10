/** Writes the policies and failure details of a TLS report. */
import type { TlsPolicyResult } from "../../../model/report.ts";
import type { Sqlite } from "../open.ts";
import type { RowPieces } from "./record-writer.ts";

export interface TlsWriter {
  /** Writes all policies of a report, a row at a time. */
  write(reportId: number, policies: readonly TlsPolicyResult[]): RowPieces;
}

export function makeTlsWriter(database: Sqlite): TlsWriter {
  const insertPolicy = database.prepare(
    "INSERT INTO tls_policy (report_id, seq, type, domain, successes, failures, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
  );
  const insertFailure = database.prepare(
    `INSERT INTO tls_failure (report_id, policy_seq, seq, result_type, sending_ip, mx, helo, receiving_ip, sessions,
       info, reason_code) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );

  function* writeOne(reportId: number, seq: number, result: TlsPolicyResult): RowPieces {
    const { policyType, policyDomain, successes, failures, policyTypeRaw, policyStrings, mxHosts } = result;
    const body = JSON.stringify({ policyTypeRaw, policyStrings, mxHosts });
    insertPolicy.run(reportId, seq, policyType, policyDomain, successes, failures, body);
    yield 1;
    for (const [i, d] of result.details.entries()) {
      insertFailure.run(
        reportId,
        seq,
        i,
        d.resultType,
        d.sendingMtaIp,
        d.receivingMxHostname,
        d.receivingMxHelo,
        d.receivingIp,
        d.failedSessions,
        d.additionalInformation,
        d.failureReasonCode,
      );
      yield 1;
    }
  }

  return {
    *write(reportId, policies) {
      for (const [seq, result] of policies.entries()) yield* writeOne(reportId, seq, result);
    },
  };
}
