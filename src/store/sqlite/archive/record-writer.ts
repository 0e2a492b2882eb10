/** Writes the records of a DMARC report: packed blocks, with the ids of sources and authsets in place of the values. */
import { BLOCK_RECORDS, PackedCursor, type PackedRecords, placesOf } from "../../../model/packed-records.ts";
import type { Sqlite } from "../open.ts";
import type { Interner } from "./intern.ts";
import { BLOCKS_PER_REPORT, BlockPacker } from "./records.ts";

/** Writes rows piece by piece, inside the transaction of its caller; yields how many rows each piece had. */
export type RowPieces = Generator<number, void, void>;

export interface RecordWriter {
  /**
   * Writes all records of a report, a block at a time.
   * @param month in which the report was received
   */
  write(reportId: number, records: PackedRecords, month: number): RowPieces;
}

export function makeRecordWriter(database: Sqlite, intern: Interner): RecordWriter {
  const insertBlock = database.prepare("INSERT INTO record_block (id, body, extra) VALUES (?, ?, ?)");
  const packer = new BlockPacker();

  /** Packs the records of the next block; returns how many there were. The packer is shared: it is left empty. */
  function writeBlock(id: number, extra: string | null, next: () => boolean, add: () => void): number {
    packer.clear(); // an error may have left something in it
    let count = 0;
    while (count < BLOCK_RECORDS && next()) {
      add();
      count++;
    }
    if (count > 0) insertBlock.run(id, packer.take(), extra);
    return count;
  }

  return {
    *write(reportId, records, month) {
      const sources = placesOf(records.sources, records.count);
      const authsets = placesOf(records.authsets, records.count);
      const cursor = new PackedCursor(records);
      const next = (): boolean => cursor.next();
      const add = (): void => {
        const source = intern.source(sources[cursor.source]!, month);
        const authset = intern.authset(authsets[cursor.authset]!, month);
        packer.add(source, authset, cursor.evaluation, cursor.count);
      };
      for (let block = 0; block * BLOCK_RECORDS < records.count; block++) {
        const id = reportId * BLOCKS_PER_REPORT + block;
        yield writeBlock(id, records.extras[block] ?? null, next, add);
      }
    },
  };
}
