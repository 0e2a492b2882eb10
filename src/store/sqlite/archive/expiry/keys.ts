/** Expiry of what stays of reports beside their sums: their keys, and who reported about whom. */
import type { Sqlite } from "../../open.ts";
import type { Stage } from "./stage.ts";

const ROWS = 100;

export function makeKeyExpiry(database: Sqlite): Stage {
  const keys = database.prepare(
    `DELETE FROM expired_report WHERE key IN
       (SELECT key FROM expired_report WHERE "end" < ? ORDER BY "end" LIMIT ${ROWS})`,
  );
  const pairs = database.prepare(
    `DELETE FROM domain_org WHERE (domain_id, org_id) IN
       (SELECT domain_id, org_id FROM domain_org WHERE reports <= 0 AND last_received < ?
        ORDER BY last_received LIMIT ${ROWS})`,
  );
  return {
    piece({ sums }) {
      const deleted = keys.run(sums).changes || pairs.run(sums).changes;
      return deleted > 0 ? deleted : undefined;
    },
  };
}
