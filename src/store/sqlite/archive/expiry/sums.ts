/**
 * Expiry of day sums. Their tables begin with the domain, so that intake appends to few pages; there is no index by day.
 * Once for each new day the domains are gone through, each by the begin of its key.
 */
import { isPass } from "../../../../model/figures.ts";
import type { Sqlite } from "../../open.ts";
import type { Sums } from "../sums.ts";
import type { ExpiryLimits } from "./limits.ts";
import type { Stage } from "./stage.ts";

const ROWS = 200;
/** Domains looked at in one piece. */
const DOMAINS = 20;

/** The tables of day sums, their keys, and what of a row the counters know. */
const TABLES = {
  daily: { key: "domain_id, day, org_id, ev", sums: "day" },
  daily_total: { key: "domain_id, day, ev", sums: "day, ev, messages" },
  tls_daily: { key: "domain_id, day, org_id", sums: "day, successes, failures" },
} as const;

interface Deleted {
  readonly day: number;
}

export interface SumExpiry extends Stage {
  /** The transaction was rolled back: domains are gone through again. */
  undo(): void;
}

export function makeSumExpiry(database: Sqlite, sums: Sums): SumExpiry {
  const statement = <Row>(table: keyof typeof TABLES) => {
    const { key, sums: columns } = TABLES[table];
    return database.prepare<[number, number], Row>(
      `DELETE FROM ${table} WHERE (${key}) IN
         (SELECT ${key} FROM ${table} WHERE domain_id = ? AND day < ? LIMIT ${ROWS}) RETURNING ${columns}`,
    );
  };
  const daily = statement<Deleted>("daily");
  const total = statement<Deleted & { ev: number; messages: number }>("daily_total");
  const tls = statement<Deleted & { successes: number; failures: number }>("tls_daily");
  const nextDomain = database
    .prepare<[number], number>("SELECT id FROM domain WHERE id > ? ORDER BY id LIMIT 1")
    .pluck();
  /** The day of which all domains were gone through, */
  let done: number | undefined;
  /** and the one of which they are being gone through, behind this domain. */
  let current: number | undefined;
  let after = 0;

  /** Notes what was deleted before something else is; returns how many rows. */
  function noted(deleted: readonly Deleted[]): number {
    for (const { day } of deleted) sums.expired(day);
    return deleted.length;
  }

  function deleteTotals(domainId: number, day: number): number {
    const deleted = total.all(domainId, day);
    for (const { ev, messages } of deleted) {
      sums.count("archive.message", -messages);
      if (isPass(ev)) sums.count("archive.message.pass", -messages);
    }
    return noted(deleted);
  }

  function deleteSessions(domainId: number, day: number): number {
    const deleted = tls.all(domainId, day);
    for (const { successes, failures } of deleted) {
      sums.count("archive.tls.session", -successes - failures);
      sums.count("archive.tls.failure", -failures);
    }
    return noted(deleted);
  }

  const deleteFrom = (domainId: number, day: number): number =>
    noted(daily.all(domainId, day)) || deleteTotals(domainId, day) || deleteSessions(domainId, day);

  return {
    piece({ day }: ExpiryLimits) {
      if (day === done) return undefined;
      if (day !== current) {
        current = day;
        after = 0;
      }
      for (let looked = 0; looked < DOMAINS; looked++) {
        const domainId = nextDomain.get(after);
        if (domainId === undefined) {
          done = day;
          return undefined;
        }
        const deleted = deleteFrom(domainId, day);
        if (deleted > 0) return deleted; // it may have more
        after = domainId;
      }
      return 0;
    },
    undo() {
      done = current = undefined;
    },
  };
}
