/** Expiry of the bytes of mails. */
import type { Sqlite } from "../../open.ts";
import { RAW, type RawClass } from "../raw-class.ts";
import type { ExpiryLimits } from "./limits.ts";
import type { Stage } from "./stage.ts";

/** A mail may have many megabytes. */
const MAILS = 4;

export function makeRawExpiry(database: Sqlite): Stage {
  const old = database
    .prepare<[RawClass, number], number>(
      `SELECT id FROM mail WHERE raw = ? AND raw > 0 AND received_at < ? ORDER BY received_at LIMIT ${MAILS}`,
    )
    .pluck();
  const deleteRaw = database.prepare("DELETE FROM raw WHERE mail_id = ?");
  const noRaw = database.prepare("UPDATE mail SET raw = 0 WHERE id = ?");

  function next({ raw, failedRaw }: ExpiryLimits): number[] {
    const parsed = old.all(RAW.parsed, raw);
    return parsed.length > 0 ? parsed : old.all(RAW.failed, failedRaw);
  }

  return {
    piece(limits) {
      const ids = next(limits);
      for (const id of ids) {
        deleteRaw.run(id);
        noRaw.run(id);
      }
      return ids.length > 0 ? ids.length : undefined;
    },
  };
}
