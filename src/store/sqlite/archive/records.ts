/**
 * The records of DMARC reports as stored: packed into blocks of a report, some ten bytes a record. Blocks are appended
 * in the order of arrival, so that intake writes few pages; the report's index finds it again.
 *
 * A record is four unsigned LEB128 numbers: source id, authset id, packed evaluation, count. What few records have
 * (reasons, raw values, extensions) stands beside the block as JSON, by the record's place in it.
 */
import type { DmarcRecord } from "../../../model/report.ts";

/** Records of one block: some 2.5 KB, which stays within a page. */
export const BLOCK_RECORDS = 256;
/** A block's id is the report's times this, plus the block's number. */
export const BLOCKS_PER_REPORT = 1 << 20;
/** Four numbers of at most eight bytes (2^53). */
const LONGEST_RECORD = 32;

export type RecordExtra = Partial<Pick<DmarcRecord, "reasons" | "raw" | "extensions">>;

export interface PackedBlock {
  readonly body: Buffer;
  /** JSON: place in the block → RecordExtra; null when there are none. */
  readonly extra: string | null;
}

/** Collects records until a block is full. One for all reports, one after the other. */
export class BlockPacker {
  readonly #bytes = Buffer.allocUnsafe(BLOCK_RECORDS * LONGEST_RECORD);
  #length = 0;
  #records = 0;
  #extras: Record<number, RecordExtra> | null = null;

  get isFull(): boolean {
    return this.#records >= BLOCK_RECORDS;
  }

  get isEmpty(): boolean {
    return this.#records === 0;
  }

  add(
    sourceId: number,
    authsetId: number,
    evaluation: number,
    count: number,
    extra: RecordExtra | null,
  ): void {
    this.#number(sourceId);
    this.#number(authsetId);
    this.#number(evaluation);
    this.#number(count);
    if (extra) {
      this.#extras ??= {};
      this.#extras[this.#records] = extra;
    }
    this.#records++;
  }

  /** The block so far; the next one begins. */
  take(): PackedBlock {
    const body = Buffer.from(this.#bytes.subarray(0, this.#length));
    const extra = this.#extras && JSON.stringify(this.#extras);
    this.clear();
    return { body, extra };
  }

  clear(): void {
    this.#length = this.#records = 0;
    this.#extras = null;
  }

  #number(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }
}

/** Reads a block's records one after the other without making objects: `next()`, then the fields. */
export class BlockCursor {
  #body: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** The record's place in the block. */
  place = -1;
  sourceId = 0;
  authsetId = 0;
  evaluation = 0;
  count = 0;

  /** Begins with a block. */
  open(body: Uint8Array): void {
    this.#body = body;
    this.#at = 0;
    this.place = -1;
  }

  /** Goes to the next record; false behind the last one. */
  next(): boolean {
    if (this.#at >= this.#body.length) return false;
    this.place++;
    this.sourceId = this.#number();
    this.authsetId = this.#number();
    this.evaluation = this.#number();
    this.count = this.#number();
    return true;
  }

  #number(): number {
    let byte = this.#body[this.#at++]!;
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let unit = 0x80;
    do {
      byte = this.#body[this.#at++] ?? 0;
      value += (byte & 0x7f) * unit;
      unit *= 0x80;
    } while (byte >= 0x80);
    return value;
  }
}

/** What a record has besides the packed numbers; null when there is nothing. */
export function extraOf({ reasons, raw, extensions }: DmarcRecord): RecordExtra | null {
  if (reasons.length === 0 && raw === null && extensions === null) return null;
  return {
    ...(reasons.length > 0 ? { reasons } : {}),
    ...(raw === null ? {} : { raw }),
    ...(extensions === null ? {} : { extensions }),
  };
}

/** Identifiers and authentication results, which recur from record to record, as the text that is interned. */
export function authsetOf(record: DmarcRecord): string {
  return JSON.stringify([
    record.headerFrom,
    record.envelopeFrom,
    record.envelopeTo,
    record.dkimResults,
    record.spfResults,
  ]);
}

export type Authset = Pick<
  DmarcRecord,
  "headerFrom" | "envelopeFrom" | "envelopeTo" | "dkimResults" | "spfResults"
>;

/** The inverse of `authsetOf`. */
export function readAuthset(text: string): Authset {
  const [headerFrom, envelopeFrom, envelopeTo, dkimResults, spfResults] = JSON.parse(text) as [
    string,
    string | null,
    string | null,
    Authset["dkimResults"],
    Authset["spfResults"],
  ];
  return { headerFrom, envelopeFrom, envelopeTo, dkimResults, spfResults };
}
