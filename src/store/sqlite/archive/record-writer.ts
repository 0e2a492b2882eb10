/** Writes the records of a DMARC report: packed blocks, with the ids of sources and authsets in place of the values. */
import { BLOCK_RECORDS, PackedCursor, type PackedRecords, placesOf } from "../../../model/packed-records.ts";
import type { Sqlite } from "../open.ts";
import type { Interner } from "./intern.ts";
import { BLOCKS_PER_REPORT, BlockPacker } from "./records.ts";

export interface RecordWriter {
  /**
   * Writes all records of a report. Call it inside the transaction.
   * @param month in which the report was received
   */
  write(reportId: number, records: PackedRecords, month: number): void;
}

export function makeRecordWriter(database: Sqlite, intern: Interner): RecordWriter {
  const insertBlock = database.prepare("INSERT INTO record_block (id, body, extra) VALUES (?, ?, ?)");
  const packer = new BlockPacker();
  return {
    write(reportId, records, month) {
      const sources = placesOf(records.sources, records.count);
      const authsets = placesOf(records.authsets, records.count);
      const cursor = new PackedCursor(records);
      packer.clear();
      let written = 0;
      const writeBlock = (): void => {
        const extra = records.extras[written] ?? null;
        insertBlock.run(reportId * BLOCKS_PER_REPORT + written++, packer.take(), extra);
      };
      for (let seq = 1; cursor.next(); seq++) {
        const source = intern.source(sources[cursor.source]!, month);
        const authset = intern.authset(authsets[cursor.authset]!, month);
        packer.add(source, authset, cursor.evaluation, cursor.count);
        if (seq % BLOCK_RECORDS === 0) writeBlock();
      }
      if (!packer.isEmpty) writeBlock();
    },
  };
}
