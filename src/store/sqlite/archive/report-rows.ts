/**
 * The rows of a report's content: blocks of records, TLS policies and failure details, DSN recipients. They are found by
 * the number of their report alone, so rows under a number without a report are not visible. All methods run inside
 * the transaction of their caller.
 */
import type { DsnRecipient } from "../../../model/report.ts";
import type { StagedContent } from "../../../model/staged.ts";
import type { Sqlite } from "../open.ts";
import type { Interner } from "./intern.ts";
import { makeRecordWriter, type RowPieces } from "./record-writer.ts";
import { BLOCKS_PER_REPORT } from "./records.ts";
import { makeTlsWriter } from "./tls-writer.ts";

/** Blocks of records that are deleted in one step: 65,536 records, some 3 ms. */
const BLOCKS_A_STEP = 256;
/** Rows of the other tables that are deleted in one step: some 5 ms. */
const ROWS_A_STEP = 2048;

/** Tables that have rows by `report_id`. */
const TABLES = ["tls_failure", "tls_policy", "dsn_recipient"] as const;
const KEYS = {
  tls_failure: "report_id, policy_seq, seq",
  tls_policy: "report_id, seq",
  dsn_recipient: "report_id, seq",
};

export interface ReportRows {
  /** Writes the rows of a report piece by piece. `month`: in which it was received. */
  pieces(reportId: number, content: StagedContent, month: number): RowPieces;
  /** Writes all of them. */
  write(reportId: number, content: StagedContent, month: number): void;
  /** Deletes some of the rows; false when that were all. */
  deleteSome(reportId: number): boolean;
  /** Deletes all of them. */
  deleteAll(reportId: number): void;
  /** Gives all rows of a number to another one, which has none. */
  move(from: number, to: number): void;
}

/** How many rows the content of a report has, about. */
export function rowsOf(content: StagedContent): number {
  switch (content.kind) {
    case "dmarc":
      return content.records.count;
    case "tls":
      return content.policies.reduce((sum, { details }) => sum + 1 + details.length, 0);
    case "dsn":
      return content.head.recipients.length;
    default:
      return 0;
  }
}

export function makeReportRows(database: Sqlite, intern: Interner): ReportRows {
  const records = makeRecordWriter(database, intern);
  const tls = makeTlsWriter(database);
  const insertRecipient = database.prepare(
    "INSERT INTO dsn_recipient (report_id, seq, recipient, action, status, diagnostic) VALUES (?, ?, ?, ?, ?, ?)",
  );
  const someBlocks = database.prepare(
    `DELETE FROM record_block WHERE id IN
       (SELECT id FROM record_block WHERE id >= ? AND id < ? LIMIT ${BLOCKS_A_STEP})`,
  );
  const allBlocks = database.prepare("DELETE FROM record_block WHERE id >= ? AND id < ?");
  const moveBlocks = database.prepare("UPDATE record_block SET id = id + ? WHERE id >= ? AND id < ?");
  const someRows = TABLES.map((table) =>
    database.prepare(
      `DELETE FROM ${table} WHERE (${KEYS[table]}) IN
         (SELECT ${KEYS[table]} FROM ${table} WHERE report_id = ? LIMIT ${ROWS_A_STEP})`,
    ),
  );
  const allRows = TABLES.map((table) => database.prepare(`DELETE FROM ${table} WHERE report_id = ?`));
  const moveRows = TABLES.map((table) =>
    database.prepare(`UPDATE ${table} SET report_id = ? WHERE report_id = ?`),
  );
  const blocksOf = (id: number): [number, number] => [id * BLOCKS_PER_REPORT, (id + 1) * BLOCKS_PER_REPORT];

  function* writeRecipients(reportId: number, recipients: readonly DsnRecipient[]): RowPieces {
    for (const [seq, { finalRecipient, action, status, diagnostic }] of recipients.entries()) {
      insertRecipient.run(reportId, seq, finalRecipient, action, status, diagnostic);
      yield 1;
    }
  }

  function* pieces(reportId: number, content: StagedContent, month: number): RowPieces {
    if (content.kind === "dmarc") yield* records.write(reportId, content.records, month);
    else if (content.kind === "tls") yield* tls.write(reportId, content.policies);
    else if (content.kind === "dsn") yield* writeRecipients(reportId, content.head.recipients);
  }

  return {
    pieces,
    write(reportId, content, month) {
      const writing = pieces(reportId, content, month);
      while (!writing.next().done);
    },
    deleteSome(reportId) {
      if (someBlocks.run(...blocksOf(reportId)).changes >= BLOCKS_A_STEP) return true;
      return someRows.some((statement) => statement.run(reportId).changes >= ROWS_A_STEP);
    },
    deleteAll(reportId) {
      allBlocks.run(...blocksOf(reportId));
      for (const statement of allRows) statement.run(reportId);
    },
    move(from, to) {
      moveBlocks.run((to - from) * BLOCKS_PER_REPORT, ...blocksOf(from));
      for (const statement of moveRows) statement.run(to, from);
    },
  };
}
