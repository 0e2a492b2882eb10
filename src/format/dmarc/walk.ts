/** Walks the elements of a DMARC report: the head's fields are collected, each record is announced when it ends. */
import type { IngestLimits } from "../../config/schema.ts";
import type { WarningList } from "../../model/outcome.ts";
import { ReadStop } from "../context.ts";
import type { XmlText } from "../xml/text.ts";
import type { XmlHandler } from "../xml/tokenizer.ts";
import { CONTEXTS, DMARC_NAMES, FIELDS, FIRST_OF_RECORD, field, nameId, TRANSITIONS } from "./elements.ts";
import { Extension, prefixesOf } from "./extension.ts";
import { emptyHead, type RawHead } from "./head.ts";
import { RecordBuilder } from "./record.ts";

/** Inside an element that is not known. */
const SKIP = -1;
const DOCUMENT = CONTEXTS.indexOf("document");
const FEEDBACK = CONTEXTS.indexOf("feedback");
const METADATA = CONTEXTS.indexOf("metadata");
const POLICY = CONTEXTS.indexOf("policy");
const RECORD = CONTEXTS.indexOf("record");
const EVALUATED = CONTEXTS.indexOf("evaluated");
const REASON = CONTEXTS.indexOf("reason");
const AUTH = CONTEXTS.indexOf("auth");
const DKIM = CONTEXTS.indexOf("dkim");
const SPF = CONTEXTS.indexOf("spf");
const IDENTITIES = nameId("identities");
const SCHEMA = nameId("schema");
const ERROR = field("error");
const REASON_COMMENT = field("reason_comment");
const BLANK = 0x20;
/** `<error>` elements kept. */
const MOST_ERRORS = 100;

export class FeedbackWalk implements XmlHandler {
  readonly head: RawHead = emptyHead();
  /** The head was passed to the sink: later values of it are dropped, and noted. */
  headIsTaken = false;
  /** The record that is open, or has just ended. */
  readonly record: RecordBuilder;
  wantsText = false;
  wantsNames = false;
  readonly #limits: IngestLimits;
  readonly #warnings: WarningList;
  readonly #text: XmlText;
  readonly #recordEnds: () => void;
  /** The context around each open element. */
  readonly #stack: number[] = [];
  #context = DOCUMENT;
  /** The leaf that is open, 0 when there is none. */
  #leaf = 0;
  #value: string | null = null;
  #extension: Extension | undefined;

  constructor(limits: IngestLimits, warnings: WarningList, text: XmlText, recordEnds: () => void) {
    this.#limits = limits;
    this.#warnings = warnings;
    this.#text = text;
    this.#recordEnds = recordEnds;
    this.record = new RecordBuilder(warnings);
  }

  /** A record has begun and not ended. */
  get inRecord(): boolean {
    return this.#context === RECORD || this.#stack.includes(RECORD);
  }

  // ---- elements ------------------------------------------------------------------

  open(name: number, attributes: string, raw: string): void {
    const around = this.#context;
    this.#stack.push(around);
    if (this.#extension) {
      this.#extension.open(raw, attributes);
      return;
    }
    if (around === SKIP) return;
    const to = this.#leaf === 0 ? TRANSITIONS[around]![name]! : 0;
    if (to < 0) this.#openLeaf(-to, attributes);
    else if (to > 0) this.#enter(to - 1, name, attributes);
    else this.#unknown(raw || DMARC_NAMES.name(name), attributes);
  }

  #openLeaf(leaf: number, attributes: string): void {
    this.#leaf = leaf;
    this.#value = null;
    this.wantsText = true;
    if (attributes === "") return;
    const lang = /(?:^|\s)(?:xml:)?lang\s*=\s*["']([^"']{1,35})["']/.exec(attributes)?.[1];
    if (lang === undefined) return;
    if (leaf === REASON_COMMENT) this.record.commentLang = lang;
    else if (leaf < FIRST_OF_RECORD) this.head.langs.set(FIELDS[leaf - 1]!, lang);
  }

  #enter(context: number, name: number, attributes: string): void {
    this.#context = context;
    if (context === RECORD) this.record.clear();
    else if (context === DKIM || context === SPF || context === REASON) this.record.beginPart();
    else if (context === EVALUATED) this.record.sawEvaluated = true;
    else if (context === AUTH) this.record.sawAuth = true;
    else if (name === IDENTITIES) this.#warnings.add("identifiers-alias");
    else if (name === SCHEMA) this.#warnings.add("xml-repaired", "<schema> around the report");
    else if (context === FEEDBACK) {
      this.head.namespace = namespaceOf(attributes);
      this.head.prefixes = prefixesOf(attributes);
    } else if (context === POLICY && this.head.sawPolicy) {
      this.#warnings.add("policy-repeated");
      this.#context = SKIP;
    }
  }

  /** Not in any schema: skipped with its content; in a record or the report it may be an extension, which is kept. */
  #unknown(raw: string, attributes: string): void {
    if (this.#context === DOCUMENT) throw new ReadStop("not-feedback", `<${raw}>`);
    if (this.#leaf === 0 && (this.#context === RECORD || this.#context === FEEDBACK)) {
      this.#extension = new Extension(this.#limits.comment, this.head.prefixes);
      this.#extension.open(raw, attributes);
      this.wantsText = true;
      this.wantsNames = true;
      return;
    }
    this.#warnings.add("unknown-element", raw);
    this.#context = SKIP;
    this.wantsText = false;
  }

  close(): void {
    const around = this.#stack.pop()!;
    if (this.#extension) {
      if (this.#extension.close()) this.#keepExtension(this.#extension.xml);
    } else if (this.#context === SKIP) {
      this.#context = around;
      this.wantsText = this.#leaf !== 0 && around !== SKIP;
    } else if (this.#leaf !== 0) this.#closeLeaf();
    else {
      this.#leave(this.#context);
      this.#context = around;
    }
  }

  #leave(context: number): void {
    if (context === RECORD) this.#recordEnds();
    else if (context === DKIM) this.record.endDkim();
    else if (context === SPF) this.record.endSpf();
    else if (context === REASON) this.record.endReason();
    else if (context === METADATA) this.head.sawMetadata = true;
    else if (context === POLICY) this.head.sawPolicy = true;
  }

  #keepExtension(xml: string | undefined): void {
    this.#extension = undefined;
    this.wantsText = false;
    this.wantsNames = false;
    const at = this.inRecord ? this.record : this.head;
    if (at === this.head && this.headIsTaken)
      this.#warnings.add("unknown-element", "an extension behind the records");
    else if (xml !== undefined && at.extensions.length + xml.length <= this.#limits.comment)
      at.extensions += xml;
    else this.#warnings.add("field-cut", "extension");
  }

  // ---- text ------------------------------------------------------------------------

  text(bytes: Buffer, start: number, end: number, cdata: boolean): void {
    if (this.#extension) {
      if (!this.#extension.isFull) this.#extension.text(this.#text.decode(bytes, start, end, !cdata));
      return;
    }
    let from = start;
    if (this.#value === null) {
      while (from < end && bytes[from]! <= BLANK) from++;
      if (from === end) return;
      this.#value = this.#text.decode(bytes, from, end, !cdata);
    } else if (this.#value.length <= this.#limits.comment) {
      this.#value += this.#text.decode(bytes, from, end, !cdata);
    }
  }

  #closeLeaf(): void {
    const leaf = this.#leaf;
    const value = this.#value === null ? "" : this.#cut(leaf, this.#value.trim());
    this.#leaf = 0;
    this.wantsText = false;
    if (leaf >= FIRST_OF_RECORD) this.record.set(leaf, value);
    else this.#setHead(leaf, value);
  }

  /** The first of several counts. */
  #setHead(leaf: number, value: string): void {
    const name = FIELDS[leaf - 1]!;
    if (leaf !== ERROR) {
      if (!this.head.fields.has(name)) this.head.fields.set(name, value);
      return;
    }
    const lang = this.head.langs.get(name) ?? null;
    this.head.langs.delete(name);
    if (value !== "" && this.head.errors.length < MOST_ERRORS) this.head.errors.push({ text: value, lang });
  }

  #cut(leaf: number, text: string): string {
    const most = leaf === REASON_COMMENT || leaf === ERROR ? this.#limits.comment : this.#limits.field;
    if (text.length <= most) return text;
    this.#warnings.add("field-cut", FIELDS[leaf - 1]!);
    return text.slice(0, most);
  }
}

/** The root's own namespace; others are declared there for schema locations. */
function namespaceOf(attributes: string): string | null {
  const own = /(?:^|\s)xmlns\s*=\s*["']([^"']*)["']/.exec(attributes);
  const prefixed = own ?? /(?:^|\s)xmlns:[\w.-]+\s*=\s*["']([^"']*dmarc[^"']*)["']/i.exec(attributes);
  return prefixed?.[1]?.slice(0, 1000) ?? null;
}
