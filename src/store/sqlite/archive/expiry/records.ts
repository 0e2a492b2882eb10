/** Expiry of the records of DMARC reports and of the policies and failure details of TLS reports; the reports stay. */
import type { Sqlite } from "../../open.ts";
import { BLOCKS_PER_REPORT } from "../records.ts";
import type { Sums } from "../sums.ts";
import { deleteSome } from "./delete-some.ts";
import type { ExpiryLimits } from "./limits.ts";
import type { Stage } from "./stage.ts";

/** Blocks of some kilobytes. */
const BLOCKS = 100;

interface OldReport {
  readonly id: number;
  readonly records: number;
  readonly counted: number;
}

export function makeRecordExpiry(database: Sqlite, sums: Sums, kind: "dmarc" | "tls"): Stage {
  const old = database.prepare<[number], OldReport>(
    `SELECT id, records, counted FROM report WHERE records_kept = 1 AND kind = '${kind}' AND received_at < ?
     ORDER BY received_at LIMIT 1`,
  );
  const blocks = database.prepare(
    `DELETE FROM record_block WHERE id IN
       (SELECT id FROM record_block WHERE id >= ? AND id < ? ORDER BY id LIMIT ${BLOCKS})`,
  );
  const tls = [
    deleteSome(database, "tls_failure", "report_id, policy_seq, seq"),
    deleteSome(database, "tls_policy", "report_id, seq"),
  ];
  const forget = database.prepare("UPDATE report SET records_kept = 0 WHERE id = ?");

  function deleteFrom(id: number): number {
    if (kind === "dmarc") return blocks.run(id * BLOCKS_PER_REPORT, (id + 1) * BLOCKS_PER_REPORT).changes;
    for (const some of tls) {
      const deleted = some(id);
      if (deleted > 0) return deleted;
    }
    return 0;
  }

  return {
    piece({ records: before }: ExpiryLimits) {
      const report = old.get(before);
      if (!report) return undefined;
      const { id, records, counted } = report;
      const deleted = deleteFrom(id);
      if (deleted > 0) return deleted;
      // until now the report is found again, also after the process has ended
      forget.run(id);
      if (kind === "dmarc") sums.count("archive.record", -counted * records);
      return 1;
    },
  };
}
