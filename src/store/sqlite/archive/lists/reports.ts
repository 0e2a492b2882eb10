/** Received reports: of all kinds, and the rows of one kind's reports. */
import { REPORT_FIELDS } from "../../../../model/lists/report-fields.ts";
import type { ArchiveFilter, ArchivePage, ArchivePaged, ReceivedReport } from "../../../archive/reader.ts";
import { reportsIn, reportWhere } from "../select.ts";
import { numberOf } from "../statement-cache.ts";
import { type ListSource, pageOf, rowDecoder, type SourceTools } from "./source.ts";

/** Reports looked at together by the lists of one kind. */
const REPORTS_AT_ONCE = 200;

/** The columns of a report in lists, from `report` and `org`. */
export const REPORT_COLUMNS = `'r' || report.id AS id, 'm' || report.mail_id AS mail_id, report.kind, org.name AS org_name,
  report.report_id, nullif(report.domains, '') AS policy_domain, report."begin", report."end", report.records,
  report.messages, report.pass AS pass_messages, report.received_at, report.auth, report.auth_domain,
  report."foreign", report.counted,
  (SELECT json_group_array(json_object('code', code, 'count', count, 'detail', detail)) FROM
    (SELECT code, count, detail FROM warning WHERE warning.report_id = report.id ORDER BY code)) AS warnings`;

const REPORT = `SELECT ${REPORT_COLUMNS} FROM report JOIN org ON org.id = org_id`;

export const toReport = rowDecoder(REPORT_FIELDS);

/** The newest reports below an id. */
function below(
  { ask, domainId }: SourceTools,
  filter: ArchiveFilter,
  id: number,
  limit: number,
): ReceivedReport[] {
  const where = reportWhere(filter, domainId(filter.domain));
  if (filter.since === undefined && filter.until === undefined)
    return ask
      .all<object>(
        `${REPORT} WHERE ${where.sql} AND report.id < ? ORDER BY report.id DESC LIMIT ?`,
        ...where.values,
        id,
        limit,
      )
      .map(toReport);
  const within = reportsIn(filter, ["id"], where);
  return ask
    .all<object>(
      `${REPORT} WHERE report.id IN (SELECT id FROM ${within.sql} WHERE id < ? ORDER BY id DESC LIMIT ?)
       ORDER BY report.id DESC`,
      ...within.values,
      id,
      limit,
    )
    .map(toReport);
}

export const makeReports =
  (tools: SourceTools): ListSource<"reports"> =>
  (filter, { limit, after }) => {
    const before = after === undefined ? Number.MAX_SAFE_INTEGER : (numberOf(after, "r") ?? 0);
    return pageOf(below(tools, filter, before, limit + 1), limit);
  };

/**
 * Rows of reports, newest report first: a report may have several, and a page may end between them. Cursors are r12.3:
 * the fourth row of report r12.
 */
export function rowsOfReports<T>(
  tools: SourceTools,
  filter: ArchiveFilter,
  page: ArchivePage,
  rowsOf: (report: ReceivedReport, id: number) => readonly T[],
): ArchivePaged<T> {
  const [report = "", row = "-1"] = (page.after ?? "").split(".");
  const afterId = numberOf(report, "r");
  let from = afterId === undefined ? Number.MAX_SAFE_INTEGER : afterId + 1;
  let last: string | null = null;
  const items: T[] = [];
  for (;;) {
    const found = below(tools, filter, from, Math.min(REPORTS_AT_ONCE, page.limit + 1));
    for (const one of found) {
      const id = numberOf(one.id, "r")!;
      const rows = rowsOf(one, id);
      for (let i = id === afterId ? Number(row) + 1 : 0; i < rows.length; i++) {
        if (items.length >= page.limit) return { items, next: last };
        items.push(rows[i]!);
        last = `${one.id}.${i}`;
      }
      from = id;
    }
    if (found.length === 0) return { items, next: null };
  }
}
