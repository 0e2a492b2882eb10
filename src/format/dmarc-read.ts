/**
 * Reads a DMARC aggregate report (RFC 9990, RFC 7489 and what came before) from a stream of bytes, record by record.
 * What can be repaired is repaired and noted; a row that cannot be used is dropped and counted; nothing is invented.
 */
import { createHash, type Hash } from "node:crypto";
import { joinWarnings, type Warning, WarningList } from "../model/outcome.ts";
import type { ItemReading, PartInfo, ReportSink, ReportWriter } from "../model/reading.ts";
import type { DmarcHead, DmarcRecord, ReportFigures } from "../model/report.ts";
import { type ByteSource, checkDeadline, type ReadContext, ReadStop } from "./context.ts";
import { CONTEXTS, DMARC_NAMES, FIELDS, field, nameId, TRANSITIONS } from "./dmarc-elements.ts";
import { buildHead, emptyHead, type RawHead } from "./dmarc-head.ts";
import { RecordBuilder } from "./dmarc-record.ts";
import { xmlBytes } from "./xml/decode.ts";
import { XmlText } from "./xml/text.ts";
import { type XmlHandler, XmlTokenizer } from "./xml/tokenizer.ts";

/** Records that may wait for a head that comes after them; with more, the report is read twice. */
const MOST_HELD = 1000;
const DEADLINE_EVERY = 256;
const HASH_CHUNK = 32_768;

const SKIP = -1;
const C = Object.fromEntries(CONTEXTS.map((name, i) => [name, i])) as Record<
  (typeof CONTEXTS)[number],
  number
>;
const F = Object.fromEntries(FIELDS.map((name) => [name, field(name)])) as Record<string, number>;
/** Fields of the head take their first occurrence; these are collected elsewhere. */
const HEAD_FIELDS = new Set(
  [
    "version",
    "org_name",
    "email",
    "extra_contact_info",
    "report_id",
    "generator",
    "begin",
    "end",
    "policy_domain",
  ].concat([
    "adkim",
    "aspf",
    "p",
    "sp",
    "np",
    "pct",
    "fo",
    "testing",
    "discovery_method",
    "version_published",
  ]),
);
const IDENTITIES = nameId("identities");

type Mode = "all" | "head-only" | "records-only";

/**
 * Reads one report into `sink`. Never throws for any input; the reason of a refusal is in the reading.
 * @param source its bytes, decompressed; opened a second time when the head follows more than 1,000 records
 */
export function readDmarc(
  source: ByteSource,
  context: ReadContext,
  sink: ReportSink,
  part: PartInfo,
): ItemReading {
  try {
    const warnings = new WarningList();
    const first = new DmarcReader(context, sink, part, warnings, "all", null);
    const reading = first.read(source);
    if (reading) return reading;
    // the head came after the records: it is known now
    return new DmarcReader(context, sink, part, warnings, "records-only", first.headNow()).read(source)!;
  } catch (error) {
    if (!(error instanceof ReadStop)) throw error;
    return { ok: false, kind: "dmarc", reason: error.reason, detail: error.detail, part };
  }
}

class DmarcReader implements XmlHandler {
  readonly #context: ReadContext;
  readonly #sink: ReportSink;
  readonly #part: PartInfo;
  readonly #warnings: WarningList;
  readonly #text: XmlText;
  readonly #raw: RawHead = emptyHead();
  readonly #record: RecordBuilder;
  #mode: Mode;
  #head: DmarcHead | null;
  #writer: ReportWriter | undefined;
  #held: DmarcRecord[] = [];
  #hash: Hash | undefined;
  /** Identities of records that are not yet in the hash. */
  #identity = "";
  #records = 0;
  #seen = 0;
  #messages = 0;
  #pass = 0;
  #dropped = 0;

  /** Context per open element; SKIP inside what is not known. */
  readonly #stack: number[] = [];
  #ctx: number = C.document;
  /** The open leaf, 0 when there is none. */
  #leaf = 0;
  #value: string | null = null;
  /** Text of a skipped element of another namespace inside a record or the report. */
  #extension: { readonly names: string[]; xml: string } | undefined;
  wantsText = false;

  constructor(
    context: ReadContext,
    sink: ReportSink,
    part: PartInfo,
    warnings: WarningList,
    mode: Mode,
    head: DmarcHead | null,
  ) {
    this.#context = context;
    this.#sink = sink;
    this.#part = part;
    this.#mode = mode;
    this.#head = head;
    // the second pass meets everything again: it notes nothing twice
    this.#warnings = mode === "records-only" ? recordsOnly(warnings) : warnings;
    this.#text = new XmlText(this.#warnings);
    this.#record = new RecordBuilder(this.#warnings);
  }

  headNow(): DmarcHead {
    return buildHead(this.#raw, this.#context, this.#warnings);
  }

  /** The reading; undefined when a second pass is needed. */
  read(source: ByteSource): ItemReading | undefined {
    try {
      return this.#read(source);
    } catch (error) {
      this.#writer?.abort();
      throw error;
    }
  }

  #read(source: ByteSource): ItemReading | undefined {
    const { limits } = this.#context;
    const tokenizer = new XmlTokenizer(
      this,
      DMARC_NAMES,
      { depth: limits.xml_depth, attributes: limits.xml_attributes, text: limits.comment },
      this.#warnings,
      this.#text,
    );
    let bytes = 0;
    for (const chunk of xmlBytes(this.#salvaged(source, tokenizer), this.#warnings)) {
      if (tokenizer.done) {
        noteTrailing(chunk, this.#warnings);
        continue; // the container's end still matters: its checksum and size
      }
      bytes += chunk.length;
      checkDeadline(this.#context);
      tokenizer.write(chunk);
    }
    tokenizer.end();
    if (bytes === 0) throw new ReadStop("empty");
    if (!tokenizer.rooted) throw new ReadStop("not-xml");
    if (!tokenizer.done) this.#truncated();
    if (this.#seen === 0 && tokenizer.mismatches > 0)
      throw new ReadStop("bad-xml", "tags that do not match, and no record");
    if (this.#mode === "head-only") return undefined;
    return this.#finish();
  }

  /** A damaged container ends the bytes; what came before it is read as a report that was cut. */
  *#salvaged(source: ByteSource, tokenizer: XmlTokenizer): Generator<Uint8Array> {
    try {
      yield* source.open();
    } catch (error) {
      const cut = error instanceof ReadStop && (error.reason === "truncated" || error.reason === "bad-crc");
      if (!cut || this.#seen === 0) throw error;
      this.#warnings.add(tokenizer.done ? "gzip-bad-checksum" : "container-truncated");
    }
  }

  #truncated(): void {
    if (this.#seen === 0) throw new ReadStop("truncated", "it ends before the first whole record");
    this.#warnings.add("xml-truncated");
    if (this.#stack.includes(C.record) || this.#ctx === C.record) this.#drop("cut off at the end");
  }

  #finish(): ItemReading {
    this.#openReport();
    for (const record of this.#held.splice(0)) this.#emit(record);
    if (this.#seen === 0) this.#warnings.add("no-records");
    const head = this.#head!;
    this.#hashIdentity();
    const contentHash = this.#hash!.digest("hex");
    const figures: ReportFigures = {
      kind: "dmarc",
      orgName: head.orgName,
      reportId: head.reportId,
      policyDomain: head.policy.domain,
      begin: head.begin,
      end: head.end,
      records: this.#records,
      messages: this.#messages,
      passMessages: this.#pass,
      droppedRecords: this.#dropped,
      warnings: joinWarnings(this.#context.carried, this.#warnings),
    };
    const kept = this.#writer!.close(figures, contentHash);
    return { ok: true, figures, kept, part: this.#part };
  }

  // ---- the head and the records ------------------------------------------------

  #openReport(): void {
    if (this.#writer) return;
    this.#head ??= this.headNow();
    if (this.#head.reportId === "") this.#head = { ...this.#head, reportId: this.#contentId() };
    const { kind, orgName, reportId, begin, end, policy, errors } = this.#head;
    this.#hash = createHash("sha256").update(
      JSON.stringify([kind, orgName.toLowerCase(), reportId, begin, end, { ...policy, raw: null }, errors]),
    );
    this.#writer = this.#sink.open(this.#head, this.#part);
  }

  /** An id for a report without one: of its metadata, for the records are still to come. */
  #contentId(): string {
    const fields = [...this.#raw.fields].sort(([a], [b]) => (a < b ? -1 : 1));
    return `sha256:${createHash("sha256").update(JSON.stringify(fields)).digest("hex")}`;
  }

  /** Both sections of the head have ended, so that records can be handed on. */
  get #headComplete(): boolean {
    return this.#head !== null || (this.#raw.sawMetadata && this.#raw.sawPolicy);
  }

  #endRecord(): void {
    this.#seen++;
    if (this.#seen > this.#context.limits.records) throw new ReadStop("too-many-records");
    if (this.#seen % DEADLINE_EVERY === 0) checkDeadline(this.#context);
    if (this.#mode === "head-only") return;
    const record = this.#record.build(
      this.#raw.fields.get("policy_domain") ?? this.#head?.policy.domain ?? null,
    );
    if (typeof record === "string") this.#drop(record);
    else if (this.#headComplete) {
      this.#openReport();
      for (const held of this.#held.splice(0)) this.#emit(held);
      this.#emit(record);
    } else if (this.#held.length < MOST_HELD) this.#held.push(record);
    else {
      this.#held = [];
      this.#mode = "head-only";
    }
  }

  #emit(record: DmarcRecord): void {
    const kept = record.headerFrom === "" ? { ...record, headerFrom: this.#head!.policy.domain } : record;
    this.#records++;
    this.#messages += kept.count;
    if (kept.dkim === "pass" || kept.spf === "pass") this.#pass += kept.count;
    this.#identity += identityOf(kept);
    if (this.#identity.length > HASH_CHUNK) this.#hashIdentity();
    this.#writer!.record(kept);
  }

  #hashIdentity(): void {
    this.#hash!.update(this.#identity);
    this.#identity = "";
  }

  #drop(why: string): void {
    this.#dropped++;
    this.#warnings.add("row-dropped", why);
  }

  // ---- what the tokenizer meets --------------------------------------------------

  open(name: number, attributes: string, raw: string): void {
    this.#stack.push(this.#ctx);
    if (this.#extension) {
      this.#beginExtension(this.#extension, raw || DMARC_NAMES.name(name), attributes);
      return;
    }
    if (this.#ctx === SKIP) return;
    if (this.#leaf !== 0) {
      this.#warnings.add("unknown-element", raw);
      this.#ctx = SKIP;
      this.wantsText = false;
      return;
    }
    const to = TRANSITIONS[this.#ctx]![name]!;
    if (to > 0) this.#enter(to - 1, name, attributes);
    else if (to < 0) this.#enterLeaf(-to, attributes);
    else this.#unknown(raw || DMARC_NAMES.name(name), attributes);
  }

  #enter(context: number, name: number, attributes: string): void {
    this.#ctx = context;
    if (context === C.record) this.#record.clear();
    else if (context === C.dkim || context === C.spf || context === C.reason) this.#record.beginPart();
    else if (context === C.evaluated) this.#record.sawEvaluated = true;
    else if (context === C.auth) this.#record.sawAuth = true;
    else if (context === C.identifiers) {
      this.#record.sawIdentifiers = true;
      if (name === IDENTITIES) this.#warnings.add("identifiers-alias");
    } else if (context === C.feedback) {
      this.#raw.namespace = namespaceOf(attributes);
    } else if (context === C.policy && this.#raw.sawPolicy) {
      this.#warnings.add("policy-repeated");
      this.#ctx = SKIP;
    }
  }

  #enterLeaf(leaf: number, attributes: string): void {
    this.#leaf = leaf;
    this.#value = null;
    this.wantsText = true;
    if (attributes !== "") {
      const lang = /(?:^|\s)(?:xml:)?lang\s*=\s*["']([^"']{1,35})["']/.exec(attributes)?.[1];
      if (lang === undefined) return;
      if (leaf === F.reason_comment) this.#record.commentLang = lang;
      else this.#raw.langs.set(FIELDS[leaf - 1]!, lang);
    }
  }

  /** Not in any schema: skipped with its content; in a record or the report it may be an extension, which is kept. */
  #unknown(raw: string, attributes: string): void {
    if (this.#ctx === C.document) throw new ReadStop("not-feedback", `<${raw}>`);
    if (this.#ctx === C.record || this.#ctx === C.feedback) {
      this.#extension = { names: [], xml: "" };
      this.#beginExtension(this.#extension, raw, attributes);
      this.wantsText = true;
      return;
    }
    this.#warnings.add("unknown-element", raw);
    this.#ctx = SKIP;
  }

  #beginExtension(
    extension: { readonly names: string[]; xml: string },
    name: string,
    attributes: string,
  ): void {
    extension.names.push(name);
    extension.xml += attributes === "" ? `<${name}>` : `<${name} ${attributes}>`;
  }

  text(bytes: Buffer, start: number, end: number, cdata: boolean): void {
    if (this.#extension) {
      if (this.#extension.xml.length < this.#context.limits.comment) {
        this.#extension.xml += this.#text
          .decode(bytes, start, end, cdata)
          .replace(/[&<]/g, (c) => (c === "&" ? "&amp;" : "&lt;"));
      }
      return;
    }
    let from = start;
    let to = end;
    if (this.#value === null) while (from < to && bytes[from]! <= 0x20) from++;
    while (to > from && bytes[to - 1]! <= 0x20) to--;
    if (from === to) return;
    const piece = this.#text.decode(bytes, from, to, cdata);
    this.#value = this.#value === null ? piece : this.#value + piece;
  }

  close(): void {
    const outer = this.#stack.pop()!;
    if (this.#extension) {
      this.#closeExtension();
      return;
    }
    if (this.#leaf !== 0 && this.#ctx !== SKIP) {
      this.#take(this.#leaf, (this.#value ?? "").trim());
      this.#leaf = 0;
      this.wantsText = false;
    } else {
      if (this.#ctx === SKIP && this.#leaf !== 0) this.wantsText = outer !== SKIP;
      if (this.#ctx !== SKIP) this.#leave(this.#ctx);
      this.#ctx = outer;
    }
  }

  #closeExtension(): void {
    const extension = this.#extension!;
    extension.xml += `</${extension.names.pop()}>`;
    if (extension.names.length > 0) return;
    this.#extension = undefined;
    this.wantsText = false;
    const at = this.#stack.includes(C.record) || this.#ctx === C.record ? this.#record : this.#raw;
    if (at.extensions.length + extension.xml.length <= this.#context.limits.comment)
      at.extensions += extension.xml;
    else this.#warnings.add("field-cut", "extension");
  }

  #leave(context: number): void {
    if (context === C.record) this.#endRecord();
    else if (context === C.dkim) this.#record.endDkim();
    else if (context === C.spf) this.#record.endSpf();
    else if (context === C.reason) this.#record.endReason();
    else if (context === C.metadata) this.#raw.sawMetadata = true;
    else if (context === C.policy) this.#raw.sawPolicy = true;
  }

  #take(leaf: number, text: string): void {
    const value = this.#cut(leaf, text);
    const record = this.#record;
    switch (leaf) {
      case F.source_ip:
        record.sourceIp = value;
        break;
      case F.count:
        record.count = value;
        break;
      case F.disposition:
        record.disposition = value;
        break;
      case F.eval_dkim:
        record.dkim = value;
        break;
      case F.eval_spf:
        record.spf = value;
        break;
      case F.header_from:
        record.headerFrom = value;
        break;
      case F.envelope_from:
        record.envelopeFrom = value;
        break;
      case F.envelope_to:
        record.envelopeTo = value;
        break;
      case F.dkim_domain:
      case F.spf_domain:
        record.domain = value;
        break;
      case F.dkim_selector:
        record.selector = value;
        break;
      case F.dkim_result:
      case F.spf_result:
        record.result = value;
        break;
      case F.dkim_human:
      case F.spf_human:
        record.human = value;
        break;
      case F.spf_scope:
        record.scope = value;
        break;
      case F.reason_type:
        record.reasonType = value;
        break;
      case F.reason_comment:
        record.comment = value;
        break;
      default:
        this.#takeHead(FIELDS[leaf - 1]!, value);
    }
  }

  #takeHead(name: string, value: string): void {
    if (name === "error") {
      if (value !== "" && this.#raw.errors.length < 100) {
        this.#raw.errors.push({ text: value, lang: this.#raw.langs.get("error") ?? null });
      }
      this.#raw.langs.delete("error");
    } else if (HEAD_FIELDS.has(name) && !this.#raw.fields.has(name)) this.#raw.fields.set(name, value);
  }

  #cut(leaf: number, text: string): string {
    const { limits } = this.#context;
    const most = leaf === F.reason_comment || leaf === F.error ? limits.comment : limits.field;
    if (text.length <= most) return text;
    this.#warnings.add("field-cut", FIELDS[leaf - 1]!);
    return text.slice(0, most);
  }
}

/** The root's own namespace; others are declared there for schema locations. */
function namespaceOf(attributes: string): string | null {
  const own = /(?:^|\s)xmlns\s*=\s*["']([^"']*)["']/.exec(attributes);
  const prefixed = own ?? /(?:^|\s)xmlns:[\w.-]+\s*=\s*["']([^"']*dmarc[^"']*)["']/.exec(attributes);
  return prefixed?.[1] ?? null;
}

/** A record in one line: equal for equal records, whatever the layout they came in. */
function identityOf(record: DmarcRecord): string {
  const { sourceIp, count, disposition, dkim, spf, headerFrom, envelopeFrom, envelopeTo } = record;
  let line = `${sourceIp}|${count}|${disposition}|${dkim}|${spf}|${headerFrom}|${envelopeFrom}|${envelopeTo}`;
  for (const d of record.dkimResults) line += `|d ${d.domain} ${d.selector} ${d.result}`;
  for (const s of record.spfResults) line += `|s ${s.domain} ${s.scope} ${s.result}`;
  for (const r of record.reasons) line += `|r ${r.type} ${r.comment}`;
  return `${line}\n`;
}

/** Text after the root: blanks and NULs are nothing, the rest is noted. */
function noteTrailing(chunk: Buffer, warnings: WarningList): void {
  if (!warnings.has("trailing-text") && chunk.some((byte) => byte > 0x20)) warnings.add("trailing-text");
}

/** Of the first pass only the warnings of the head stay: the second pass notes those of the records. */
function recordsOnly(first: WarningList): WarningList {
  const list = new WarningList();
  const again = new Set<Warning>(first.list().map((w) => w.code));
  for (const { code, detail } of first.list()) list.add(code, detail);
  const add = list.add.bind(list);
  list.add = (code, detail) => {
    if (!again.has(code)) add(code, detail);
  };
  return list;
}
