/**
 * Expiry of names: sources and authentication results of records, heads of reports, domains and organisations. Each row
 * notes the last month in which something referred to it (`intern.ts`); it is deleted when all data of that month has
 * expired. The stages that delete this data must have nothing left in the same slice.
 */
import type { Sqlite } from "../../open.ts";
import type { ExpiryLimits } from "./limits.ts";
import type { Stage } from "./stage.ts";

const ROWS = 200;

/** Which limit applies to each table. */
export const NAMES = {
  source: "recordMonth",
  authset: "recordMonth",
  head: "reportMonth",
  domain: "sumMonth",
  org: "sumMonth",
} as const satisfies Record<string, keyof ExpiryLimits>;

/**
 * Tables of which the rows come in pairs (domain_org). Pairs expire before the names do; one that is left goes with its
 * name, because the id is given again.
 */
const PAIRED: ReadonlySet<string> = new Set(["domain", "org"]);

export interface NameExpiry extends Stage {
  /** Whether there is anything to delete. */
  pending(limits: ExpiryLimits): boolean;
}

/**
 * The transactions around its pieces must not check foreign keys: for each head, domain or organisation SQLite would
 * search all reports for a reference.
 * @param forget forgets cached ids
 */
export function makeNameExpiry(database: Sqlite, forget: () => void): NameExpiry {
  const tables = Object.entries(NAMES).map(([table, limit]) => ({
    limit,
    oldest: database.prepare<[], number | null>(`SELECT min(used) FROM ${table}`).pluck(),
    some: database
      .prepare<[number], number>(
        `DELETE FROM ${table} WHERE id IN (SELECT id FROM ${table} WHERE used < ? ORDER BY used LIMIT ${ROWS})
         RETURNING id`,
      )
      .pluck(),
    pairs: PAIRED.has(table) ? database.prepare(`DELETE FROM domain_org WHERE ${table}_id = ?`) : undefined,
  }));
  const staged = database.prepare("SELECT 1 FROM staged_report LIMIT 1");
  return {
    pending(limits) {
      // what a staged report refers to is known to its blocks alone
      if (staged.get() !== undefined) return false;
      return tables.some(({ limit, oldest }) => (oldest.get() ?? limits[limit]) < limits[limit]);
    },
    piece(limits) {
      for (const { limit, some, pairs } of tables) {
        const deleted = some.all(limits[limit]);
        if (deleted.length === 0) continue;
        for (const id of deleted) pairs?.run(id);
        forget();
        return deleted.length;
      }
      return undefined;
    },
  };
}
