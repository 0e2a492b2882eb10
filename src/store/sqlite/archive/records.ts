/**
 * The records of DMARC reports as stored: packed into blocks of a report, some ten bytes a record. Blocks are appended
 * in the order of arrival, so that intake writes few pages; the report's index finds it again.
 *
 * A record is four unsigned LEB128 numbers: source id, authset id, packed evaluation, count. What few records have
 * (reasons, raw values, extensions) stands beside the block as JSON, by the record's place in it.
 */
import { NumberReader, NumberWriter } from "../../../lib/leb128.ts";

/** A block's id is the report's times this, plus the block's number. */
export const BLOCKS_PER_REPORT = 1 << 20;

/** Packs the records of a block. One for all reports, one after the other. */
export class BlockPacker {
  readonly #bytes = new NumberWriter(4096);

  add(sourceId: number, authsetId: number, evaluation: number, count: number): void {
    this.#bytes.write(sourceId);
    this.#bytes.write(authsetId);
    this.#bytes.write(evaluation);
    this.#bytes.write(count);
  }

  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }

  /** The block so far; the next one begins. */
  take(): Uint8Array {
    return this.#bytes.take();
  }

  clear(): void {
    this.#bytes.clear();
  }
}

/** Reads a block's records one after the other without making objects: `next()`, then the fields. */
export class BlockCursor {
  readonly #body = new NumberReader();
  /** The record's place in the block. */
  place = -1;
  sourceId = 0;
  authsetId = 0;
  evaluation = 0;
  count = 0;

  /** Begins with a block. */
  open(body: Uint8Array): void {
    this.#body.open(body);
    this.place = -1;
  }

  /** Goes to the next record; false behind the last one. */
  next(): boolean {
    if (this.#body.done) return false;
    this.place++;
    this.sourceId = this.#body.read();
    this.authsetId = this.#body.read();
    this.evaluation = this.#body.read();
    this.count = this.#body.read();
    return true;
  }
}
