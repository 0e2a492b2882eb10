/**
 * The records of a DMARC report in some ten bytes each, without ids of any store: what the parser hands to the archive. A
 * record is four numbers (lib/leb128.ts): the places of its source address and of its identifiers in two lists of
 * different values, the packed evaluation, and the count.
 */
import { NumberReader, NumberWriter } from "../lib/leb128.ts";
import { packEvaluation } from "./figures.ts";
import type { DmarcRecord } from "./report.ts";

/** Records of one block. */
export const BLOCK_RECORDS = 256;

/** What few records have. */
export type RecordExtra = Partial<Pick<DmarcRecord, "reasons" | "raw" | "extensions">>;

/** Identifiers and authentication results, which recur from record to record. */
export type Authset = Pick<
  DmarcRecord,
  "headerFrom" | "envelopeFrom" | "envelopeTo" | "dkimResults" | "spfResults"
>;

/** All records of a report, in their order. It can be sent to another thread. */
export interface PackedRecords {
  readonly count: number;
  /** Different source addresses, one a line. */
  readonly sources: string;
  /** Different sets of identifiers and results, as `authsetOf` writes them, one a line. */
  readonly authsets: string;
  /** Four numbers a record: place of the source, place of the authset, evaluation, count. */
  readonly body: Uint8Array<ArrayBuffer>;
  /** For each block of records what few of them have: JSON, place in the block → RecordExtra; empty when none has any. */
  readonly extras: readonly (string | null)[];
  /** Messages by packed evaluation. */
  readonly evaluations: readonly (readonly [evaluation: number, messages: number])[];
}

/** Bytes of a place in memory besides its text. */
const ENTRY_BYTES = 64;

/** Gives each different text a place. */
class Places {
  readonly #places = new Map<string, number>();
  bytes = 0;

  of(text: string): number {
    const known = this.#places.get(text);
    if (known !== undefined) return known;
    const place = this.#places.size;
    this.#places.set(text, place);
    this.bytes += text.length + ENTRY_BYTES;
    return place;
  }

  lines(): string {
    return [...this.#places.keys()].join("\n");
  }
}

/** Packs the records of one report. */
export class RecordPacker {
  readonly #sources = new Places();
  readonly #authsets = new Places();
  readonly #body = new NumberWriter();
  readonly #evaluations = new Map<number, number>();
  readonly #extras: (string | null)[] = [];
  #block: Record<number, RecordExtra> | null = null;
  #extraBytes = 0;
  #count = 0;

  /** About the bytes that it holds. */
  get bytes(): number {
    return this.#sources.bytes + this.#authsets.bytes + this.#body.length + this.#extraBytes;
  }

  add(record: DmarcRecord): void {
    const evaluation = packEvaluation(record);
    this.#body.write(this.#sources.of(record.sourceIp));
    this.#body.write(this.#authsets.of(authsetOf(record)));
    this.#body.write(evaluation);
    this.#body.write(record.count);
    this.#evaluations.set(evaluation, (this.#evaluations.get(evaluation) ?? 0) + record.count);
    const extra = extraOf(record);
    if (extra) {
      this.#block ??= {};
      this.#block[this.#count % BLOCK_RECORDS] = extra;
    }
    if (++this.#count % BLOCK_RECORDS === 0) this.#endBlock();
  }

  /** All records that were added. */
  take(): PackedRecords {
    if (this.#count % BLOCK_RECORDS > 0) this.#endBlock();
    return {
      count: this.#count,
      sources: this.#sources.lines(),
      authsets: this.#authsets.lines(),
      body: this.#body.take(),
      extras: this.#extras.some((extra) => extra !== null) ? this.#extras : [],
      evaluations: [...this.#evaluations],
    };
  }

  #endBlock(): void {
    const text = this.#block && JSON.stringify(this.#block);
    this.#extraBytes += text?.length ?? 0;
    this.#extras.push(text);
    this.#block = null;
  }
}

/** Reads packed records one after the other without making objects: `next()`, then the fields. */
export class PackedCursor {
  readonly #body = new NumberReader();
  source = 0;
  authset = 0;
  evaluation = 0;
  count = 0;

  constructor({ body }: PackedRecords) {
    this.#body.open(body);
  }

  /** Goes to the next record; false behind the last one. */
  next(): boolean {
    if (this.#body.done) return false;
    this.source = this.#body.read();
    this.authset = this.#body.read();
    this.evaluation = this.#body.read();
    this.count = this.#body.read();
    return true;
  }
}

/** The lines of a list of different values. */
export function placesOf(lines: string, count: number): readonly string[] {
  return count === 0 ? [] : lines.split("\n");
}

/** What a record has besides the packed numbers; null when there is nothing. */
function extraOf({ reasons, raw, extensions }: DmarcRecord): RecordExtra | null {
  if (reasons.length === 0 && raw === null && extensions === null) return null;
  return {
    ...(reasons.length > 0 ? { reasons } : {}),
    ...(raw === null ? {} : { raw }),
    ...(extensions === null ? {} : { extensions }),
  };
}

/** Identifiers and authentication results as one line of text: JSON, which contains no line break. */
export function authsetOf(record: DmarcRecord): string {
  return JSON.stringify([
    record.headerFrom,
    record.envelopeFrom,
    record.envelopeTo,
    record.dkimResults,
    record.spfResults,
  ]);
}

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
