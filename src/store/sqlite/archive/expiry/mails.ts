/**
 * Expiry of mails with all that is left of them: their rows, parts that were no report, and reports. Of a report in the
 * day sums its key stays, so that a late copy does not count again.
 */
import type { ReportKind } from "../../../../model/report.ts";
import type { Sqlite } from "../../open.ts";
import type { DomainNotes } from "../domains.ts";
import { makeExpiredKeys } from "../expired-keys.ts";
import { readAuthMore } from "../mails.ts";
import type { Sums } from "../sums.ts";
import { deleteSome } from "./delete-some.ts";
import type { ExpiryLimits } from "./limits.ts";
import type { Stage } from "./stage.ts";

const MAILS = 4;
/** Policy domains of a report that are deleted in one piece. */
const ALSO = 200;

interface OldMail {
  readonly id: number;
  readonly outcome: string | null;
  readonly auth: string;
  readonly auth_more: string | null;
}

interface OldReport {
  readonly id: number;
  readonly kind: ReportKind;
  readonly org_id: number;
  readonly org: string;
  readonly report_id: string;
  /** The first policy domain. */
  readonly domain_id: number | null;
  readonly domains: string;
  readonly begin: number;
  readonly end: number;
  readonly content_hash: Buffer;
  readonly counted: number;
}

/** The parts of the archive's writer that take part. */
export interface MailExpiryParts {
  readonly sums: Sums;
  readonly notes: Pick<DomainNotes, "forgotten">;
}

export function makeMailExpiry(database: Sqlite, { sums, notes }: MailExpiryParts): Stage {
  const old = database.prepare<[number], OldMail>(
    `SELECT id, outcome, auth, auth_more FROM mail WHERE state = 'done' AND received_at < ?
     ORDER BY received_at LIMIT ${MAILS}`,
  );
  const reportOf = database.prepare<[number], OldReport>(
    `SELECT report.id, kind, org_id, org.key AS org, report_id, domain_id, domains, "begin", "end", content_hash, counted
     FROM report JOIN org ON org.id = org_id WHERE mail_id = ? LIMIT 1`,
  );
  const alsoOf = database
    .prepare<[number], number>(
      `DELETE FROM report_also WHERE (domain_id, report_id) IN
       (SELECT domain_id, report_id FROM report_also WHERE report_id = ? LIMIT ${ALSO}) RETURNING domain_id`,
    )
    .pluck();
  const warnings = deleteSome(database, "warning", "report_id, code");
  const deleteReport = database.prepare("DELETE FROM report WHERE id = ?");
  const deleteMail = ["DELETE FROM mail_item WHERE mail_id = ?", "DELETE FROM mail WHERE id = ?"].map((sql) =>
    database.prepare(sql),
  );
  const keys = makeExpiredKeys(database);

  function expireReport(report: OldReport): void {
    const { id, kind, org, report_id: reportId, domains, begin, end, counted } = report;
    // the key joins the names again: a name as it was sent may contain a comma
    if (counted === 1 && (kind === "dmarc" || kind === "tls"))
      keys.add({ kind, org, reportId, domains: [domains], begin, end }, report.content_hash);
    if (report.domain_id !== null) notes.forgotten(report.domain_id, report.org_id);
    sums.count(`archive.report.${kind}`, -1);
    if (counted === 0) sums.count(`archive.uncounted.${kind}`, -1);
    deleteReport.run(id);
  }

  /** Deletes policy domains of a report besides the first one; returns how many. */
  function deleteAlso({ id, org_id }: OldReport): number {
    const deleted = alsoOf.all(id);
    for (const domainId of deleted) notes.forgotten(domainId, org_id);
    return deleted.length;
  }

  function expireMail({ id, outcome, auth, auth_more }: OldMail): void {
    sums.count("archive.mail", -1);
    if (outcome !== null) sums.count(`archive.outcome.${outcome}`, -1);
    if (readAuthMore(auth_more).by !== null) sums.count(`archive.auth.${auth}`, -1);
    for (const statement of deleteMail) statement.run(id);
  }

  /** Deletes rows of the reports of a mail; 0 when none is left. */
  function deleteFrom(mailId: number): number {
    const report = reportOf.get(mailId);
    if (!report) return 0;
    const deleted = deleteAlso(report) || warnings(report.id);
    if (deleted > 0) return deleted;
    expireReport(report);
    return 1;
  }

  return {
    piece({ mails: before }: ExpiryLimits) {
      let deleted = 0;
      const found = old.all(before);
      for (const mail of found) {
        const some = deleteFrom(mail.id);
        deleted += some;
        if (some > 0) return deleted; // it may have more
        expireMail(mail);
        deleted++;
      }
      return found.length > 0 ? deleted : undefined;
    },
  };
}
