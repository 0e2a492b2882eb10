/** Filters of the archive as SQL. Values are bound, never written into the text. */
import { DAY, evaluationsThat, isPass, isUnknown, LONG_SPAN } from "../../../model/figures.ts";
import { normalizeIp } from "../../../model/ip.ts";
import type { ArchiveFilter } from "../../archive/reader.ts";
import { checkedBy } from "./cancel.ts";
import { FAILED } from "./raw-class.ts";

export interface Where {
  readonly sql: string;
  readonly values: readonly unknown[];
}

class Terms {
  readonly #terms: string[] = [];
  readonly #values: unknown[] = [];

  add(sql: string, ...values: unknown[]): void {
    this.#terms.push(sql);
    this.#values.push(...values);
  }

  where(): Where {
    return { sql: this.#terms.length > 0 ? this.#terms.join(" AND ") : "1", values: this.#values };
  }
}

const dayOf = (time: number): number => Math.floor(time / DAY) * DAY;

/** Packed evaluations of a result word. */
export function evaluationsOf(result: ArchiveFilter["result"]): number[] | undefined {
  if (result === undefined) return undefined;
  if (result === "pass") return evaluationsThat(isPass);
  return evaluationsThat(result === "unknown" ? isUnknown : (ev) => !isPass(ev) && !isUnknown(ev));
}

/** The condition on reports, without their window. */
export function reportWhere(filter: ArchiveFilter, domainId: number | undefined): Where {
  const terms = new Terms();
  if (domainId !== undefined)
    terms.add(
      `(report.domain_id = ? OR report.id IN (SELECT report_id FROM report_also
         WHERE ${checkedBy("report_id")} AND domain_id = ?))`,
      domainId,
      domainId,
    );
  if (filter.org)
    terms.add(
      `report.org_id IN (SELECT id FROM org WHERE ${checkedBy("id")} AND key LIKE ? ESCAPE '\\')`,
      `%${likeText(filter.org.toLowerCase())}%`,
    );
  terms.add(checkedBy("report.id"));
  if (filter.kind) terms.add("report.kind = ?", filter.kind);
  if (filter.warning)
    terms.add("EXISTS (SELECT 1 FROM warning WHERE report_id = report.id AND code = ?)", filter.warning);
  return terms.where();
}

/** Columns that the window's indexes answer alone. */
type WindowColumn = "id" | "begin" | "end" | "domain_id" | "counted" | "org_id";

/**
 * Reports whose range overlaps [since, until), as a table; the window is half-open. Long ones are found by an
 * index of their own, so that no report that ended long before is looked at.
 * @param term on columns of `report`, those of WindowColumn best
 */
export function reportsIn(
  { since, until }: Pick<ArchiveFilter, "since" | "until">,
  columns: readonly WindowColumn[],
  term: Where,
): Where {
  const from = since ?? 0;
  const to = until ?? Number.MAX_SAFE_INTEGER;
  const named = columns.map((column) => `report."${column}"`).join(", ");
  return {
    sql: `(SELECT ${named} FROM report INDEXED BY report_window
        WHERE report."begin" >= ? AND report."begin" < ? AND report."end" >= ? AND ${term.sql}
      UNION ALL SELECT ${named} FROM report INDEXED BY report_long
        WHERE report."end" - report."begin" > 90000 AND report."end" >= ? AND report."begin" < ? AND ${term.sql})`,
    values: [
      from - LONG_SPAN,
      to,
      from,
      ...term.values,
      from,
      Math.min(from - LONG_SPAN, to),
      ...term.values,
    ],
  };
}

/** The condition on mails; filters of reports must hold for one of the reports of the mail. */
export function mailWhere(filter: ArchiveFilter, domainId: number | undefined): Where {
  const terms = new Terms();
  terms.add(checkedBy("mail.id"));
  const report = reportWhere(filter, domainId);
  if (report.values.length > 0)
    terms.add(`EXISTS (SELECT 1 FROM report WHERE mail_id = mail.id AND ${report.sql})`, ...report.values);
  if (filter.source) terms.add("remote_ip = ?", normalizeIp(filter.source) ?? filter.source);
  if (filter.outcome === "failed") terms.add(`outcome IN ${FAILED}`);
  else if (filter.outcome === "spooled") terms.add("state = 'spooled'");
  else if (filter.outcome) terms.add("outcome = ?", filter.outcome);
  if (filter.reason)
    terms.add(
      "(reason = ? OR EXISTS (SELECT 1 FROM mail_item WHERE mail_id = mail.id AND mail_item.reason = ?))",
      filter.reason,
      filter.reason,
    );
  if (filter.since !== undefined) terms.add("received_at >= ?", filter.since);
  if (filter.until !== undefined) terms.add("received_at < ?", filter.until);
  return terms.where();
}

/** Day sums; `table` is daily, daily_total or tls_daily. */
export function dayWhere(
  filter: ArchiveFilter,
  table: string,
  domainId: number | undefined,
  orgIds?: readonly number[],
): Where {
  const terms = new Terms();
  if (domainId !== undefined) terms.add(`${table}.domain_id = ?`, domainId);
  if (filter.since !== undefined) terms.add(`${table}.day >= ?`, dayOf(filter.since));
  if (filter.until !== undefined) terms.add(`${table}.day < ?`, filter.until);
  if (orgIds) terms.add(`${table}.org_id IN (${orgIds.map(() => "?").join(", ")})`, ...orgIds);
  const evs = table === "tls_daily" ? undefined : evaluationsOf(filter.result);
  if (evs) terms.add(`${table}.ev IN (${evs.join(", ")})`);
  terms.add(checkedBy(`${table}.${table === "daily_total" ? "domain_id" : "org_id"}`, 64));
  return terms.where();
}

export function likeText(text: string): string {
  return text.replace(/[\\%_]/g, "\\$&");
}
