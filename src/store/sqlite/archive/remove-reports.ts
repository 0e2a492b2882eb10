/** Deletes reports with all that belongs to them, and remembers what they were when their mail is parsed again. */
import type { DomainNotes } from "./domains.ts";
import type { Staging } from "./staging.ts";
import type { ReportRow, ReportStatements } from "./statements.ts";
import type { Sums } from "./sums.ts";

/** What stays of a report when its mail is parsed again and gives one with the same key. */
export interface PreviousReport {
  readonly id: number;
  /** False: its records have expired, and are not stored again. */
  readonly recordsKept: boolean;
}

/** By `reportKey`. */
export type PreviousReports = ReadonlyMap<string, PreviousReport>;

/** What tells a report from all others in the archive. */
export interface ReportIdentity {
  readonly kind: string;
  readonly orgId: number;
  readonly reportId: string;
  /** Policy domains, joined by commas. */
  readonly domains: string;
  readonly begin: number;
  readonly end: number;
}

/** The identity as text. Failure, abuse and delivery status reports have their content's hash as id, and no period. */
export function reportKey({ kind, orgId, reportId, domains, begin, end }: ReportIdentity): string {
  const period = kind === "dmarc" || kind === "tls" ? [begin, end] : [];
  return JSON.stringify([kind, orgId, reportId, domains, ...period]);
}

export interface ReportRemoval {
  /** Deletes a report and subtracts it from the sums and counters. */
  remove(reportId: number): void;
  /** Deletes all reports of a mail; tells what they were. */
  removeOfMail(mailId: number): PreviousReports;
}

export interface RemovalParts {
  readonly sql: ReportStatements;
  readonly sums: Sums;
  readonly notes: DomainNotes;
  readonly staging: Staging;
}

export function makeReportRemoval({ sql, sums, notes, staging }: RemovalParts): ReportRemoval {
  function subtract(row: ReportRow): void {
    const { kind, org_id: orgId, domain_id: domainId, begin, end } = row;
    sums.add(
      { kind, orgId, domainId, begin, end, sums: row.sums, records: row.records_kept * row.records },
      -1,
    );
  }

  function removeRow(row: ReportRow): void {
    if (row.counted === 1) subtract(row);
    else sums.count(`archive.uncounted.${row.kind}`, -1);
    sums.count(`archive.report.${row.kind}`, -1);
    // by id: a name as it was sent may contain a comma
    if (row.domain_id !== null) notes.forgotten(row.domain_id, row.org_id);
    for (const domainId of sql.alsoOf.all(row.id)) notes.forgotten(domainId, row.org_id);
    staging.discard(row.id);
    sql.deleteReport(row.id);
  }

  return {
    remove(reportId) {
      const row = sql.reportRow.get(reportId);
      if (row) removeRow(row);
    },
    removeOfMail(mailId) {
      const previous = new Map<string, PreviousReport>();
      for (const id of sql.reportsOf.all(mailId)) {
        const row = sql.reportRow.get(id)!;
        const identity = { ...row, orgId: row.org_id, reportId: row.report_id };
        previous.set(reportKey(identity), { id, recordsKept: row.records_kept === 1 });
        removeRow(row);
      }
      return previous;
    },
  };
}
