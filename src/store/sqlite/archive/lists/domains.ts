/** Figures by policy domain: from day sums, and from the rows of reports. */
import type { ArchiveRow } from "../../../../model/lists/lists.ts";
import type { ArchiveFilter } from "../../../archive/reader.ts";
import { checkedBy } from "../cancel.ts";
import { dayWhere, reportsIn } from "../select.ts";
import type { Ask } from "../statement-cache.ts";
import { type ListSource, type SourceTools, wholePage } from "./source.ts";
import { hasWindow, NO_MESSAGES, plus } from "./sums.ts";

/** Ids of what a filter names; undefined = any. */
interface FigureIds {
  readonly domainId: number | undefined;
  readonly orgIds: readonly number[] | undefined;
}

interface AboutDomain {
  readonly domain_id: number;
  readonly reports: number;
  readonly reporters: number;
  readonly last: number | null;
}

interface TlsSums {
  readonly domain_id: number;
  readonly successes: number;
  readonly failures: number;
}

const NO_REPORTS = { reports: 0, reporters: 0 };

/** The condition on rows of a table with `domain_id` and `org_id`. */
function idTerms(table: string, { domainId, orgIds }: FigureIds): string {
  const domain = `${table}.domain_id ${domainId === undefined ? "IS NOT NULL" : `= ${Number(domainId)}`}`;
  return orgIds === undefined ? domain : `${domain} AND org_id IN (${orgIds.map(Number).join(", ")})`;
}

/**
 * Who reported about the domains, and how often, of the reports that are stored, within the window; and when the last
 * report came, whatever the window.
 */
function aboutDomains(ask: Ask, filter: ArchiveFilter, ids: FigureIds): Map<number, AboutDomain> {
  const ever = ask.all<AboutDomain>(
    `SELECT domain_id, sum(reports) AS reports, sum(reports > 0) AS reporters, max(last_received) AS last
     FROM domain_org
     WHERE ${checkedBy("(domain_id + org_id)")} AND ${idTerms("domain_org", ids)} GROUP BY domain_id`,
  );
  if (hasWindow(filter)) {
    const counted = reportersIn(ask, filter, ids);
    return new Map(
      ever.map((row) => [row.domain_id, { ...row, ...(counted.get(row.domain_id) ?? NO_REPORTS) }]),
    );
  }
  return new Map(ever.map((row) => [row.domain_id, row]));
}

/** Reports of the window and their organisations, by domain. */
function reportersIn({ one }: Ask, filter: ArchiveFilter, ids: FigureIds): Map<number, typeof NO_REPORTS> {
  // without a check for cancelling: an index alone answers it, and the check would take a tenth of the time
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
     WHERE ${checkedBy("also.report_id")} AND "begin" < ? AND "end" >= ? AND ${idTerms("also", ids)}`,
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

/** Messages by DMARC result, by domain. */
function messageSums({ all }: Ask, filter: ArchiveFilter, ids: FigureIds): Map<number, typeof NO_MESSAGES> {
  const daily = ids.orgIds ? "daily" : "daily_total";
  const where = dayWhere(filter, daily, ids.domainId, ids.orgIds);
  const sums = new Map<number, typeof NO_MESSAGES>();
  for (const { domain_id, ev, messages } of all<{ domain_id: number; ev: number; messages: number }>(
    `SELECT domain_id, ev, sum(messages) AS messages FROM ${daily} WHERE ${where.sql} GROUP BY domain_id, ev`,
    ...where.values,
  ))
    sums.set(domain_id, plus(sums.get(domain_id) ?? NO_MESSAGES, ev, messages));
  return sums;
}

/** Sessions of TLS reports, by domain. */
function tlsSums({ all }: Ask, filter: ArchiveFilter, ids: FigureIds): Map<number, TlsSums> {
  const where = dayWhere(filter, "tls_daily", ids.domainId, ids.orgIds);
  const rows = all<TlsSums>(
    `SELECT domain_id, sum(successes) AS successes, sum(failures) AS failures
     FROM tls_daily WHERE ${where.sql} GROUP BY domain_id`,
    ...where.values,
  );
  return new Map(rows.map((row) => [row.domain_id, row]));
}

export const makeDomains =
  ({ ask, idsOf }: SourceTools): ListSource<"domains"> =>
  (filter) => {
    const ids = idsOf(filter);
    const sums = messageSums(ask, filter, ids);
    const tls = tlsSums(ask, filter, ids);
    const about = aboutDomains(ask, filter, ids);
    const rows = [...new Set([...sums.keys(), ...tls.keys()])].map((id): ArchiveRow<"domains"> => {
      const { name, policy } = ask.one<{ name: string; policy: string | null }>(
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
        last_report_at: last,
        tls_sessions: successes + failures,
        tls_failures: failures,
      };
    });
    return wholePage(rows.sort((a, b) => b.messages - a.messages || (a.domain < b.domain ? -1 : 1)));
  };
