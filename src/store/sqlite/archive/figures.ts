/** Figures of the archive: by domain, by day, by reporter. They come from day sums and from the rows of reports. */
import { isPass, isUnknown } from "../../../model/figures.ts";
import type { Warning } from "../../../model/outcome.ts";
import type { ArchiveFilter, DayFigures, DomainSummary, ReporterSummary } from "../../archive/reader.ts";
import { dayWhere, reportsIn, reportWhere, type Where } from "./select.ts";
import type { Ask } from "./statement-cache.ts";

/** Ids of what a filter names; undefined = any. */
export interface FigureIds {
  readonly domainId: number | undefined;
  readonly orgIds: readonly number[] | undefined;
}

export interface Figures {
  domains(filter: ArchiveFilter, ids: FigureIds): DomainSummary[];
  days(filter: ArchiveFilter, ids: FigureIds): DayFigures[];
  reporters(filter: ArchiveFilter, ids: FigureIds): ReporterSummary[];
}

/** Maximum number of organisations in one answer: the names come from outside. */
const MOST_REPORTERS = 100_000;

interface AboutDomain {
  readonly domain_id: number;
  readonly reports: number;
  readonly reporters: number;
  readonly last: number | null;
}

interface Repair {
  readonly org_id: number;
  readonly code: Warning;
  readonly reports: number;
  readonly count: number;
  readonly detail: string | null;
}

const NO_REPORTS = { reports: 0, reporters: 0 };
const NO_MESSAGES = { messages: 0, pass: 0, fail: 0, unknown: 0 };

/** Messages of a packed evaluation, added to what there is. */
function plus<T extends typeof NO_MESSAGES>(sum: T, ev: number, messages: number): T {
  const verdict = isPass(ev) ? "pass" : isUnknown(ev) ? "unknown" : "fail";
  return { ...sum, messages: sum.messages + messages, [verdict]: sum[verdict] + messages };
}

/** The condition on rows of a table with `domain_id` and `org_id`. */
function idTerms(table: string, { domainId, orgIds }: FigureIds): string {
  const domain = `${table}.domain_id ${domainId === undefined ? "IS NOT NULL" : `= ${Number(domainId)}`}`;
  return orgIds === undefined ? domain : `${domain} AND org_id IN (${orgIds.map(Number).join(", ")})`;
}

const hasWindow = ({ since, until }: ArchiveFilter): boolean => since !== undefined || until !== undefined;

export function makeFigures({ all, one }: Ask): Figures {
  /**
   * Who reported about the domains, and how often, of the reports that are stored, within the window; and when the last
   * report came, whatever the window.
   */
  function aboutDomains(filter: ArchiveFilter, ids: FigureIds): Map<number, AboutDomain> {
    const ever = all<AboutDomain>(
      `SELECT domain_id, sum(reports) AS reports, sum(reports > 0) AS reporters, max(last_received) AS last
       FROM domain_org WHERE ${idTerms("domain_org", ids)} GROUP BY domain_id`,
    );
    if (hasWindow(filter)) {
      const counted = reportersIn(filter, ids);
      return new Map(
        ever.map((row) => [row.domain_id, { ...row, ...(counted.get(row.domain_id) ?? NO_REPORTS) }]),
      );
    }
    return new Map(ever.map((row) => [row.domain_id, row]));
  }

  /** Reports of the window and their organisations, by domain. */
  function reportersIn(filter: ArchiveFilter, ids: FigureIds): Map<number, typeof NO_REPORTS> {
    const within = reportsIn(filter, ["domain_id", "org_id"], { sql: idTerms("report", ids), values: [] });
    // domain and organisation as one small number: many of them are passed as JSON
    const { orgs } = one<{ orgs: number }>("SELECT coalesce(max(id), 0) + 1 AS orgs FROM org")!;
    const pair = `domain_id * ${orgs} + org_id`;
    // counted here: GROUP BY over all these rows takes twice the time
    const firsts = one<{ pairs: string }>(
      `SELECT json_group_array(${pair}) AS pairs FROM ${within.sql}`,
      ...within.values,
    )!;
    const others = one<{ pairs: string }>(
      `SELECT json_group_array(also.${pair}) AS pairs
       FROM report_also AS also CROSS JOIN report ON report.id = also.report_id
       WHERE "begin" < ? AND "end" >= ? AND ${idTerms("also", ids)}`,
      filter.until ?? Number.MAX_SAFE_INTEGER,
      filter.since ?? 0,
    )!;
    const counts = new Map<number, number>();
    for (const text of [firsts.pairs, others.pairs])
      for (const key of JSON.parse(text) as number[]) counts.set(key, (counts.get(key) ?? 0) + 1);
    const domains = new Map<number, typeof NO_REPORTS>();
    for (const [key, count] of counts) {
      const domain = Math.floor(key / orgs);
      const { reports, reporters } = domains.get(domain) ?? NO_REPORTS;
      domains.set(domain, { reports: reports + count, reporters: reporters + 1 });
    }
    return domains;
  }

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

  return {
    domains(filter, ids) {
      const daily = ids.orgIds ? "daily" : "daily_total";
      const dmarcWhere = dayWhere(filter, daily, ids.domainId, ids.orgIds);
      const sums = new Map<number, typeof NO_MESSAGES>();
      for (const { domain_id, ev, messages } of all<{ domain_id: number; ev: number; messages: number }>(
        `SELECT domain_id, ev, sum(messages) AS messages FROM ${daily} WHERE ${dmarcWhere.sql} GROUP BY domain_id, ev`,
        ...dmarcWhere.values,
      ))
        sums.set(domain_id, plus(sums.get(domain_id) ?? NO_MESSAGES, ev, messages));
      const tlsWhere = dayWhere(filter, "tls_daily", ids.domainId, ids.orgIds);
      const tls = new Map(
        all<{ domain_id: number; successes: number; failures: number }>(
          `SELECT domain_id, sum(successes) AS successes, sum(failures) AS failures FROM tls_daily WHERE ${tlsWhere.sql} GROUP BY domain_id`,
          ...tlsWhere.values,
        ).map((row) => [row.domain_id, row]),
      );
      const about = aboutDomains(filter, ids);
      const found = [...new Set([...sums.keys(), ...tls.keys()])].map((id): DomainSummary => {
        const { name, policy } = one<{ name: string; policy: string | null }>(
          "SELECT name, policy FROM domain WHERE id = ?",
          id,
        )!;
        const { successes = 0, failures = 0 } = tls.get(id) ?? {};
        const { reports = 0, reporters = 0, last = null } = about.get(id) ?? {};
        return {
          domain: name,
          policy,
          ...(sums.get(id) ?? NO_MESSAGES),
          reports,
          reporters,
          lastReportAt: last,
          tlsSessions: successes + failures,
          tlsFailures: failures,
        };
      });
      return found.sort((a, b) => b.messages - a.messages || (a.domain < b.domain ? -1 : 1));
    },

    days(filter, { domainId, orgIds }) {
      const table = orgIds ? "daily" : "daily_total";
      const { sql, values } = dayWhere(filter, table, domainId, orgIds);
      const rows = all<{ day: number; ev: number; messages: number }>(
        `SELECT day, ev, sum(messages) AS messages FROM ${table} WHERE ${sql} GROUP BY day, ev ORDER BY day`,
        ...values,
      );
      const days = new Map<number, DayFigures>();
      for (const { day, ev, messages } of rows)
        days.set(day, plus(days.get(day) ?? { day, ...NO_MESSAGES }, ev, messages));
      return [...days.values()];
    },

    reporters(filter, { domainId }) {
      const { from, warned, where } = chosen(filter, domainId);
      const organisations = all<{ id: number; org: string; reports: number; messages: number; last: number }>(
        `SELECT org.id, org.name AS org, count(*) AS reports, sum(messages) AS messages, max(received_at) AS last
         FROM ${from} JOIN org ON org.id = org_id WHERE ${where.sql}
         GROUP BY org.id ORDER BY reports DESC, org.key LIMIT ${MOST_REPORTERS}`,
        ...where.values,
      );
      const repairs = new Map<number, Omit<Repair, "org_id">[]>();
      for (const { org_id, ...repair } of all<Repair>(
        `SELECT org_id, code, count(*) AS reports, sum(warning.count) AS count, max(detail) AS detail
         FROM ${warned} WHERE ${where.sql} GROUP BY org_id, code
         ORDER BY count DESC, code`,
        ...where.values,
      ))
        repairs.set(org_id, [...(repairs.get(org_id) ?? []), repair]);
      const repaired = new Map(
        all<{ org_id: number; reports: number }>(
          `SELECT org_id, count(DISTINCT report.id) AS reports
           FROM ${warned} WHERE ${where.sql} GROUP BY org_id`,
          ...where.values,
        ).map((row) => [row.org_id, row.reports]),
      );
      return organisations.map(
        ({ id, ...row }): ReporterSummary => ({
          ...row,
          repaired: repaired.get(id) ?? 0,
          warnings: repairs.get(id) ?? [],
        }),
      );
    },
  };
}
