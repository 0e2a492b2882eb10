/** The statements that write and delete reports. */
import { DAY } from "../../model/figures.ts";
import type { Evaluations } from "./archive-sums.ts";
import type { Sqlite } from "./open.ts";

export interface ReportRow {
  readonly id: number;
  readonly kind: string;
  readonly org_id: number;
  readonly domain_id: number | null;
  readonly begin: number;
  readonly end: number;
  readonly records: number;
  readonly counted: number;
  readonly records_kept: number;
}

export type ReportStatements = ReturnType<typeof prepareReportStatements>;

export function prepareReportStatements(database: Sqlite) {
  const reportRow = database.prepare<[number], ReportRow>(
    `SELECT id, kind, org_id, domain_id, "begin", "end", records, counted, records_kept FROM report WHERE id = ?`,
  );
  const evaluations = database.prepare<[number | null, number, number], { ev: number; messages: number }>(
    "SELECT ev, sum(count) AS messages FROM record WHERE domain_id = ? AND day = ? AND report_id = ? GROUP BY ev",
  );
  const tlsSums = database.prepare("SELECT domain, successes, failures FROM tls_policy WHERE report_id = ?");
  const deleteRecords = database.prepare(
    "DELETE FROM record WHERE domain_id = ? AND day = ? AND report_id = ?",
  );
  const rest = ["tls_failure", "tls_policy", "dsn_recipient", "warning"].map((table) =>
    database.prepare(`DELETE FROM ${table} WHERE report_id = ?`),
  );
  const deleteReport = database.prepare("DELETE FROM report WHERE id = ?");
  const dayOf = (row: ReportRow): number => Math.floor(row.begin / DAY) * DAY;
  return {
    reportRow,
    savepoint: database.prepare("SAVEPOINT report"),
    release: database.prepare("RELEASE report"),
    rollback: database.prepare("ROLLBACK TO report"),
    byKey: database.prepare<
      [string, number, string, string, number, number],
      { id: number; content_hash: Buffer; auth: string }
    >(
      `SELECT id, content_hash, auth FROM report
       WHERE report_id = ? AND org_id = ? AND kind = ? AND domains = ? AND "begin" = ? AND "end" = ?`,
    ),
    insertReport: database.prepare(
      `INSERT INTO report (mail_id, kind, org_id, report_id, domain_id, domains, "begin", "end", content_hash, records,
         messages, pass, dropped, counted, "foreign", auth, auth_domain, received_at, head, part_name)
       VALUES (@mailId, @kind, @orgId, @reportId, @domainId, @domains, @begin, @end, x'', 0, 0, NULL, 0, @counted,
         @foreign, @auth, @authDomain, @receivedAt, @head, @partName)`,
    ),
    finishReport: database.prepare(
      `UPDATE report SET content_hash = @hash, records = @records, messages = @messages, pass = @pass,
         dropped = @dropped WHERE id = @id`,
    ),
    insertRecord: database.prepare(
      `INSERT INTO record (domain_id, day, report_id, seq, source_id, authset_id, ev, count, extra)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    insertPolicy: database.prepare(
      "INSERT INTO tls_policy (report_id, seq, type, domain, successes, failures, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    insertFailure: database.prepare(
      `INSERT INTO tls_failure (report_id, policy_seq, seq, result_type, sending_ip, mx, helo, receiving_ip, sessions,
         info, reason_code) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    insertRecipient: database.prepare(
      "INSERT INTO dsn_recipient (report_id, seq, recipient, action, status, diagnostic) VALUES (?, ?, ?, ?, ?, ?)",
    ),
    insertWarning: database.prepare(
      "INSERT INTO warning (report_id, code, count, detail) VALUES (?, ?, ?, ?)",
    ),
    /** Messages by evaluation, as stored. */
    evaluationsOf(row: ReportRow): Evaluations {
      return new Map(evaluations.all(row.domain_id, dayOf(row), row.id).map((r) => [r.ev, r.messages]));
    },
    tlsSumsOf: (reportId: number) =>
      tlsSums.all(reportId) as { domain: string | null; successes: number; failures: number }[],
    deleteRecords(row: ReportRow): number {
      return deleteRecords.run(row.domain_id, dayOf(row), row.id).changes;
    },
    /** All other rows of a report, and the report. */
    deleteRest(reportId: number): void {
      for (const statement of rest) statement.run(reportId);
      deleteReport.run(reportId);
    },
  };
}
