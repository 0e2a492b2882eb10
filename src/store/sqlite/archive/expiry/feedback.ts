/** Expiry of failure and abuse reports and delivery status notifications, as a whole. */
import type { Sqlite } from "../../open.ts";
import { deleteSome } from "./delete-some.ts";
import type { ExpiryLimits } from "./limits.ts";
import type { Stage } from "./stage.ts";

const KINDS = ["failure", "arf", "dsn"] as const;

/** @param remove deletes one report and subtracts it from the counters */
export function makeFeedbackExpiry(database: Sqlite, remove: (reportId: number) => void): Stage {
  // all of them have `records_kept`, which the index asks for
  const old = KINDS.map((kind) =>
    database
      .prepare<[number], number>(
        `SELECT id FROM report WHERE records_kept = 1 AND kind = '${kind}' AND received_at < ?
         ORDER BY received_at LIMIT 1`,
      )
      .pluck(),
  );
  const recipients = deleteSome(database, "dsn_recipient", "report_id, seq");
  return {
    piece({ feedback }: ExpiryLimits) {
      for (const statement of old) {
        const id = statement.get(feedback);
        if (id === undefined) continue;
        const deleted = recipients(id);
        if (deleted > 0) return deleted;
        remove(id);
        return 1;
      }
      return undefined;
    },
  };
}
