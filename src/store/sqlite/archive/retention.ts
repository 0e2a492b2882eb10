/**
 * Deletes what has expired, in small slices. Everything expires by the time when we received it, whatever period a report
 * covers: an old report that is imported today is kept as long as one that came by mail today. Day sums stay for ever;
 * they have no window of their own.
 */
import type { Expirable, RetentionPolicy } from "../../archive/maintenance.ts";
import type { Sqlite } from "../open.ts";
import { checkedBy } from "./cancel.ts";
import { prepareReportStatements } from "./statements.ts";
import type { Sums } from "./sums.ts";

/** Outcomes that a later version may improve, in SQL: their raw mail is kept longer. */
export const FAILED = "('invalid', 'partial', 'unauthenticated', 'duplicate-conflict')";

/** Reports that expire as a whole. All of them have `records_kept`, which the index asks for. */
const FEEDBACK = "records_kept = 1 AND kind IN ('failure', 'arf', 'dsn') AND received_at < ?";

/** How much has expired, over a connection with `not_cancelled()`. */
export function expirable(database: Sqlite, now: number, policy: RetentionPolicy): Expirable {
  const count = (sql: string, ...values: number[]): number =>
    Number(
      database
        .prepare(sql)
        .pluck()
        .get(...values),
    );
  return {
    raw_mails: count(
      `SELECT count(*) FROM mail JOIN raw ON mail_id = id WHERE ${checkedBy("id")} AND state = 'done'
         AND received_at < CASE WHEN outcome IN ${FAILED} THEN ? ELSE ? END`,
      now - policy.failedRaw,
      now - policy.raw,
    ),
    feedback_reports: count(
      `SELECT count(*) FROM report WHERE ${checkedBy("id")} AND ${FEEDBACK}`,
      now - policy.feedback,
    ),
    reports_with_records: count(
      `SELECT count(*) FROM report WHERE ${checkedBy("id")} AND records_kept = 1 AND kind IN ('dmarc', 'tls')
         AND received_at < ?`,
      now - policy.records,
    ),
  };
}

export interface Expiry {
  /** Deletes about `rows` rows; 0 when nothing is left to delete. Call it inside a transaction. */
  slice(now: number, policy: RetentionPolicy, rows: number): number;
}

/** @param remove deletes one report and subtracts it from the sums and counters */
export function makeExpiry(database: Sqlite, sums: Sums, remove: (reportId: number) => void): Expiry {
  const sql = prepareReportStatements(database);
  const oldRaw = database.prepare(
    `DELETE FROM raw WHERE mail_id IN (SELECT id FROM mail JOIN raw ON mail_id = id
       WHERE state = 'done' AND received_at < ? AND outcome NOT IN ${FAILED} LIMIT ?)`,
  );
  const oldFailedRaw = database.prepare(
    `DELETE FROM raw WHERE mail_id IN (SELECT id FROM mail JOIN raw ON mail_id = id
       WHERE state = 'done' AND received_at < ? AND outcome IN ${FAILED} LIMIT ?)`,
  );
  const oldFeedback = database
    .prepare<[number], number>(`SELECT id FROM report WHERE ${FEEDBACK} LIMIT 100`)
    .pluck();
  const withRecords = database.prepare<
    [string, number],
    { readonly id: number; readonly records: number; readonly counted: number }
  >(
    `SELECT id, records, counted FROM report WHERE records_kept = 1 AND kind = ? AND received_at < ?
     ORDER BY received_at LIMIT 20`,
  );
  const forgetRecords = database.prepare("UPDATE report SET records_kept = 0 WHERE id = ?");
  const deleteTls = ["tls_failure", "tls_policy"].map((t) =>
    database.prepare(`DELETE FROM ${t} WHERE report_id = ?`),
  );

  function expireRecords(kind: string, before: number): number {
    let deleted = 0;
    for (const { id, records, counted } of withRecords.all(kind, before)) {
      if (kind === "dmarc") {
        deleted += sql.deleteRecords(id);
        sums.count("archive.record", -counted * records);
      } else for (const statement of deleteTls) deleted += statement.run(id).changes;
      forgetRecords.run(id);
      deleted++;
    }
    return deleted;
  }

  return {
    slice(now, policy, rows) {
      let deleted = oldRaw.run(now - policy.raw, rows).changes;
      if (deleted < rows) deleted += oldFailedRaw.run(now - policy.failedRaw, rows - deleted).changes;
      if (deleted < rows) {
        for (const id of oldFeedback.all(now - policy.feedback)) {
          remove(id);
          deleted++;
        }
      }
      if (deleted < rows) deleted += expireRecords("dmarc", now - policy.records);
      if (deleted < rows) deleted += expireRecords("tls", now - policy.records);
      return deleted;
    },
  };
}
