/** Data of a domain besides its sums: its reporters, and the policy in the newest report. */
import type { Sqlite } from "../open.ts";

export interface DomainNotes {
  /** A report was stored. */
  reported(domainId: number, orgId: number, range: ReportRange): void;
  /** A report was deleted. */
  forgotten(domainId: number, orgId: number): void;
  /** A DMARC report that begins at `begin` saw this policy. */
  sawPolicy(domainId: number, policy: string | null, begin: number): void;
  /** Forgets what is cached. */
  clear(): void;
}

export interface ReportRange {
  readonly begin: number;
  readonly end: number;
  readonly receivedAt: number;
}

/** Domains whose newest policy is remembered. */
const CACHE_SIZE = 50_000;

export function makeDomainNotes(database: Sqlite): DomainNotes {
  const add = database.prepare(
    `INSERT INTO domain_org (domain_id, org_id, reports, first_begin, last_end, last_received) VALUES (?, ?, 1, ?, ?, ?)
     ON CONFLICT DO UPDATE SET reports = reports + 1, first_begin = min(first_begin, excluded.first_begin),
       last_end = max(last_end, excluded.last_end), last_received = max(last_received, excluded.last_received)`,
  );
  const take = database.prepare(
    "UPDATE domain_org SET reports = reports - 1 WHERE domain_id = ? AND org_id = ?",
  );
  const policyBegin = database
    .prepare<[number], number | null>("SELECT policy_begin FROM domain WHERE id = ?")
    .pluck();
  const setPolicy = database.prepare("UPDATE domain SET policy = ?, policy_begin = ? WHERE id = ?");
  const newest = new Map<number, number>();
  return {
    reported(domainId, orgId, { begin, end, receivedAt }) {
      add.run(domainId, orgId, begin, end, receivedAt);
    },
    forgotten(domainId, orgId) {
      take.run(domainId, orgId);
    },
    sawPolicy(domainId, policy, begin) {
      const known = newest.get(domainId) ?? policyBegin.get(domainId) ?? Number.MIN_SAFE_INTEGER;
      if (begin > known) setPolicy.run(policy, begin, domainId);
      if (newest.size >= CACHE_SIZE) newest.clear();
      newest.set(domainId, Math.max(known, begin));
    },
    clear() {
      newest.clear();
    },
  };
}
