/** Reporting organisations, and the parse warnings of their reports. */
import type { ArchiveRow } from "../../../../model/lists/lists.ts";
import type { ArchiveFilter } from "../../../archive/reader.ts";
import { reportsIn, reportWhere, type Where } from "../select.ts";
import { type ListSource, type SourceTools, wholePage } from "./source.ts";
import { hasWindow } from "./sums.ts";

/** Maximum number of organisations in one answer: the names come from outside. */
const MOST_REPORTERS = 100_000;

type ReporterWarning = ArchiveRow<"reporters">["warnings"][number];

/** The reports of a filter, and those with their warnings, as tables; and the condition that a row must still meet. */
function chosen(filter: ArchiveFilter, domainId: number | undefined) {
  const where = reportWhere(filter, domainId);
  const ofReport = "warning.report_id = report.id";
  if (!hasWindow(filter))
    return { from: "report", warned: `warning CROSS JOIN report ON ${ofReport}`, where };
  const within = reportsIn(filter, ["id"], where);
  const from = `${within.sql} AS chosen CROSS JOIN report ON report.id = chosen.id`;
  const all: Where = { sql: "1", values: within.values };
  return { from, warned: `${from} CROSS JOIN warning ON ${ofReport}`, where: all };
}

export const makeReporters =
  ({ ask, domainId }: SourceTools): ListSource<"reporters"> =>
  (filter) => {
    const { from, warned, where } = chosen(filter, domainId(filter.domain));
    const organisations = ask.all<Omit<ArchiveRow<"reporters">, "repaired" | "warnings"> & { id: number }>(
      `SELECT org.id, org.name AS org_name, count(*) AS reports, sum(messages) AS messages, max(received_at) AS last_at
       FROM ${from} JOIN org ON org.id = org_id WHERE ${where.sql}
       GROUP BY org.id ORDER BY reports DESC, org.key LIMIT ${MOST_REPORTERS}`,
      ...where.values,
    );
    const warnings = new Map<number, ReporterWarning[]>();
    for (const { org_id, ...warning } of ask.all<ReporterWarning & { org_id: number }>(
      `SELECT org_id, code, count(*) AS reports, sum(warning.count) AS count, max(detail) AS detail
       FROM ${warned} WHERE ${where.sql} GROUP BY org_id, code
       ORDER BY count DESC, code`,
      ...where.values,
    )) {
      const known = warnings.get(org_id);
      if (known) known.push(warning);
      else warnings.set(org_id, [warning]);
    }
    const repaired = new Map(
      ask
        .all<{ org_id: number; reports: number }>(
          `SELECT org_id, count(DISTINCT report.id) AS reports
           FROM ${warned} WHERE ${where.sql} GROUP BY org_id`,
          ...where.values,
        )
        .map((row) => [row.org_id, row.reports]),
    );
    return wholePage(
      organisations.map(({ id, org_name, reports, messages, last_at }) => ({
        org_name,
        reports,
        repaired: repaired.get(id) ?? 0,
        messages,
        last_at,
        warnings: warnings.get(id) ?? [],
      })),
    );
  };
