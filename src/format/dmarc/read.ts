/**
 * Parses a DMARC aggregate report (RFC 9990, RFC 7489 and older drafts) from a stream of bytes, record by record.
 * Defects are corrected and noted where the meaning is clear; a row that cannot be used is dropped and counted; no value is made up.
 */
import { createHash, type Hash } from "node:crypto";
import { joinWarnings, WarningList } from "../../model/outcome.ts";
import type { ItemReading, PartInfo, ReportSink } from "../../model/reading.ts";
import type { DmarcHead, DmarcRecord } from "../../model/report.ts";
import { type ByteSource, checkDeadline, type ReadContext, ReadStop } from "../context.ts";
import { xmlBytes } from "../xml/decode.ts";
import { Effort } from "../xml/effort.ts";
import { XmlText } from "../xml/text.ts";
import { XmlTokenizer } from "../xml/tokenizer.ts";
import { DMARC_NAMES } from "./elements.ts";
import { buildHead, hasReportId } from "./head.ts";
import { identityOf, ReportOutput } from "./output.ts";
import { FeedbackWalk } from "./walk.ts";

/** Records that may wait for a head that comes after them, or for an id made of them; with more, the report is parsed twice. */
const MOST_HELD = 1000;
/** Bytes between two checks of the deadline. */
const SLICE = 262_144;

/**
 * Parses one report into `sink`. Does not throw for any input; the reason of a refusal is in the result.
 * @param source its bytes, decompressed; opened a second time when the head follows more than 1,000 records
 */
export function readDmarc(
  source: ByteSource,
  context: ReadContext,
  sink: ReportSink,
  part: PartInfo,
): ItemReading {
  try {
    const first = new Pass(context, sink, part, null);
    return first.read(source) ?? new Pass(context, sink, part, first.readHead()).read(source)!;
  } catch (error) {
    if (!(error instanceof ReadStop)) throw error;
    return { ok: false, kind: "dmarc", reason: error.reason, detail: error.detail, part };
  }
}

/** A head and its warnings. */
interface KnownHead {
  readonly head: DmarcHead;
  readonly warnings: WarningList;
}

/** One pass over all bytes. */
class Pass {
  readonly #context: ReadContext;
  readonly #sink: ReportSink;
  readonly #part: PartInfo;
  readonly #warnings = new WarningList();
  readonly #tokenizer: XmlTokenizer;
  readonly #walk: FeedbackWalk;
  #known: KnownHead | null;
  #output: ReportOutput | undefined;
  /** Records that wait for the head; null when there were too many and this pass only looks for the head. */
  #held: DmarcRecord[] | null = [];
  /** Whether the report has an id, so that none is made from its content; undefined: not known yet. */
  #hasId: boolean | undefined;
  /** All records, while an id may have to be made from them. */
  #content: Hash | undefined;
  #seen = 0;
  #dropped = 0;
  #messages = 0;

  constructor(context: ReadContext, sink: ReportSink, part: PartInfo, known: KnownHead | null) {
    const { limits } = context;
    this.#context = context;
    this.#sink = sink;
    this.#part = part;
    this.#known = known;
    if (known) this.#hasId = true;
    const effort = new Effort();
    const text = new XmlText(this.#warnings, effort);
    this.#walk = new FeedbackWalk(limits, this.#warnings, text, () => this.#recordEnds());
    this.#tokenizer = new XmlTokenizer(this.#walk, {
      names: DMARC_NAMES,
      limits: { depth: limits.xml_depth, attributes: limits.xml_attributes, text: limits.comment },
      warnings: this.#warnings,
      effort,
      text,
    });
  }

  /** The head; call it when all of the report was parsed. Throws ReadStop. */
  readHead(): KnownHead {
    const warnings = new WarningList();
    const head = buildHead(this.#walk.head, this.#context, warnings);
    return { head: head.reportId === "" ? { ...head, reportId: this.#contentId() } : head, warnings };
  }

  /** The result; undefined when a second pass is needed. */
  read(source: ByteSource): ItemReading | undefined {
    try {
      this.#tokenize(source);
      if (!this.#held) return undefined;
      return this.#finish(this.#held);
    } catch (error) {
      this.#output?.abort();
      throw error;
    }
  }

  #tokenize(source: ByteSource): void {
    const tokenizer = this.#tokenizer;
    let bytes = 0;
    // also after the root element: the end of the container has its checksum and size
    for (const chunk of xmlBytes(this.#salvaged(source), this.#warnings)) {
      bytes += chunk.length;
      for (let at = 0; at < chunk.length; at += SLICE) {
        checkDeadline(this.#context);
        tokenizer.write(chunk.length <= SLICE ? chunk : chunk.subarray(at, at + SLICE));
      }
    }
    tokenizer.end();
    if (bytes === 0) throw new ReadStop("empty");
    if (!tokenizer.rooted) throw new ReadStop("not-xml");
    if (!tokenizer.done) this.#truncated();
    if (this.#seen === 0 && tokenizer.mismatches > 0)
      throw new ReadStop("bad-xml", "tags that do not match, and no record");
  }

  /** A damaged container ends the bytes; what came before is parsed as a truncated report. */
  *#salvaged(source: ByteSource): Generator<Uint8Array> {
    try {
      yield* source.open();
    } catch (error) {
      const cut = error instanceof ReadStop && (error.reason === "truncated" || error.reason === "bad-crc");
      if (!cut || this.#seen === 0) throw error;
      this.#warnings.add(this.#tokenizer.done ? "gzip-bad-checksum" : "container-truncated");
    }
  }

  #truncated(): void {
    if (this.#seen === 0) throw new ReadStop("truncated", "it ends before the first whole record");
    this.#warnings.add("xml-truncated");
    if (this.#walk.inRecord) this.#drop("cut off at the end");
  }

  #finish(held: readonly DmarcRecord[]): ItemReading {
    const output = this.#open();
    for (const record of held) output.record(record);
    if (this.#seen === 0) this.#warnings.add("no-records");
    const figures = output.close({
      droppedRecords: this.#dropped,
      warnings: joinWarnings(this.#context.carried, this.#warnings, this.#known!.warnings),
    });
    return { ok: true, figures, part: this.#part };
  }

  #open(): ReportOutput {
    this.#known ??= this.readHead();
    this.#output ??= new ReportOutput(this.#known.head, this.#sink, this.#part);
    this.#walk.headIsTaken = true;
    return this.#output;
  }

  /** An id for a report without one, made from its metadata and records in any order. */
  #contentId(): string {
    const fields = [...this.#walk.head.fields].sort(([a], [b]) => (a < b ? -1 : 1));
    const records = this.#content?.digest("hex") ?? "";
    return `sha256:${createHash("sha256").update(JSON.stringify(fields)).update(records).digest("hex")}`;
  }

  #recordEnds(): void {
    this.#seen++;
    if (this.#seen > this.#context.limits.records) throw new ReadStop("too-many-records");
    if (this.#walk.head.sawMetadata) this.#hasId ??= hasReportId(this.#walk.head, this.#context);
    if (!this.#held && this.#hasId) return;
    const record = this.#walk.record.build();
    if (typeof record === "string") this.#drop(record);
    else if (!Number.isSafeInteger(this.#messages + record.count))
      this.#drop(`count "${record.count}", with the others`);
    else {
      this.#messages += record.count;
      if (!this.#hasId) {
        this.#content ??= createHash("sha256");
        this.#content.update(identityOf(record));
      }
      if (this.#held) this.#take(record, this.#held);
    }
  }

  /** Passes a record on when the head is known; holds it otherwise. */
  #take(record: DmarcRecord, held: DmarcRecord[]): void {
    if (this.#known || (this.#hasId && this.#walk.head.sawPolicy)) {
      const output = this.#open();
      for (const earlier of held.splice(0)) output.record(earlier);
      output.record(record);
    } else if (held.length < MOST_HELD) held.push(record);
    else this.#held = null;
  }

  #drop(why: string): void {
    this.#dropped++;
    this.#warnings.add("row-dropped", why);
  }
}
