/** The statements that write and delete reports. */

import type { Sqlite } from "../open.ts";
import { BLOCKS_PER_REPORT } from "./records.ts";

export interface ReportRow {
  readonly id: number;
  readonly kind: string;
  readonly org_id: number;
  readonly domain_id: number | null;
  readonly domains: string;
  readonly begin: number;
  readonly end: number;
  readonly records: number;
  readonly counted: number;
  readonly sums: string | null;
  readonly report_id: string;
  /** 0: its records have expired. */
  readonly records_kept: number;
}

/** What `put` asks of a stored report. */
export interface StoredRow {
  readonly id: number;
  readonly mail_id: number;
  readonly content_hash: Buffer;
  readonly auth: string;
  /** 0: its records have expired. */
  readonly records_kept: number;
}

export type ReportStatements = ReturnType<typeof prepareReportStatements>;

export function prepareReportStatements(database: Sqlite) {
  const reportRow = database.prepare<[number], ReportRow>(
    `SELECT id, kind, org_id, domain_id, domains, "begin", "end", records, counted, sums, report_id,
       records_kept FROM report WHERE id = ?`,
  );
  const deleteBlocks = database.prepare("DELETE FROM record_block WHERE id >= ? AND id < ?");
  const rest = ["warning", "report_also"].map((table) =>
    database.prepare(`DELETE FROM ${table} WHERE report_id = ?`),
  );
  const deleteReport = database.prepare("DELETE FROM report WHERE id = ?");
  return {
    reportRow,
    reportsOf: database.prepare<[number], number>("SELECT id FROM report WHERE mail_id = ?").pluck(),
    byKey: database.prepare<[string, number, string, string, number, number], StoredRow>(
      `SELECT id, mail_id, content_hash, auth, records_kept FROM report
       WHERE report_id = ? AND org_id = ? AND kind = ? AND domains = ? AND "begin" = ? AND "end" = ?`,
    ),
    /** Reports of kinds without an id of their own: the hash of the content stands in its place. */
    byContent: database.prepare<[string, number, string, string], StoredRow>(
      "SELECT id, mail_id, content_hash, auth, records_kept FROM report WHERE report_id = ? AND org_id = ? AND kind = ? AND domains = ?",
    ),
    insertReport: database.prepare(
      `INSERT INTO report (id, mail_id, kind, org_id, report_id, report_id_raw, domain_id, domains, "begin", "end", content_hash, records,
         messages, pass, dropped, counted, sums, "foreign", auth, auth_domain, received_at, head_id, head, part_name, part_type,
         part_size, records_kept)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    /** The policy domains of a report besides the first one. */
    alsoOf: database
      .prepare<[number], number>("SELECT domain_id FROM report_also WHERE report_id = ?")
      .pluck(),
    insertAlso: database.prepare("INSERT OR IGNORE INTO report_also (domain_id, report_id) VALUES (?, ?)"),
    insertWarning: database.prepare(
      "INSERT INTO warning (report_id, code, count, detail) VALUES (?, ?, ?, ?)",
    ),
    deleteRecords(reportId: number): number {
      return deleteBlocks.run(reportId * BLOCKS_PER_REPORT, (reportId + 1) * BLOCKS_PER_REPORT).changes;
    },
    /** A report and its other rows; those of its content are deleted by report-rows.ts. */
    deleteReport(reportId: number): void {
      for (const statement of rest) statement.run(reportId);
      deleteReport.run(reportId);
    },
  };
}
