/**
 * Parses all reports of a mail or file: walks its parts, opens its containers, and passes each report to its parser.
 * Content decides what a part is; labels break ties. A bad part does not stop the others. No network is used.
 */
import type { IngestLimits } from "../../config/schema.ts";
import { WarningList } from "../../model/outcome.ts";
import type {
  ItemReading,
  MailHeaders,
  MailReading,
  PartInfo,
  ReadHints,
  ReportSink,
} from "../../model/reading.ts";
import { Budget } from "../container/budget.ts";
import { inflated } from "../container/inflate.ts";
import { type Content, SNIFFED, sniff } from "../container/sniff.ts";
import { collect, peek } from "../container/source.ts";
import { TarReader } from "../container/tar.ts";
import { zipEntries } from "../container/zip.ts";
import { type ByteSource, type ReadContext, ReadStop, type SurroundingHints } from "../context.ts";
import { readDmarc } from "../dmarc/read.ts";
import { isBounce, readDsn, readTextBounce } from "../feedback/dsn.ts";
import { isFeedbackPart, isStatusPart, type PartReading } from "../feedback/fields.ts";
import { readFeedback, readTextFeedback } from "../feedback/read.ts";
import { readTls } from "../tlsrpt/read.ts";
import { isAutoReply, readMailHeaders } from "./headers.ts";
import { unescapedReport } from "./html-escaped.ts";
import { bodyOf, type Part, readParts } from "./mime/parts.ts";
import { nameHints, subjectHints } from "./name-hints.ts";

const REPORT_NAME = /\.(?:xml|json)(?:\.(?:gz|gzip|zip))*$/i;
const REPORT_TYPE = /^(?:text|application)\/(?:xml|[\w.-]+\+xml)$|tlsrpt/;
const MAIL_TYPE = /^message\/(?:rfc822|global)$/;
const MAIL_NAME = /\.(?:eml|msg|mbox)(?:\.(?:gz|gzip|zz|zlib))*$/i;
/** Maximum decompressed bytes of a container inside another one, or of an encoded mail, which are held in memory. */
const LARGEST_HELD = 32 << 20;

/**
 * Parses one mail or file. Does not throw for any input.
 * @param monotonic milliseconds, for the deadline `read_timeout`
 */
export function readMail(
  raw: Uint8Array,
  hints: ReadHints,
  limits: IngestLimits,
  monotonic: () => number,
  sink: ReportSink,
): MailReading {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  return new MailReader(hints, limits, monotonic, sink).read(bytes);
}

/** A mail, or one that was forwarded inside it. */
interface Message {
  readonly bytes: Buffer;
  readonly root: Part;
  readonly headers: MailHeaders;
  /** Number of mails that it is nested in. */
  readonly forwards: number;
  /** Warnings so far; each of its reports gets them. */
  readonly warnings: WarningList;
}

/** Something that may be or hold a report. */
interface Candidate {
  readonly source: ByteSource;
  readonly name: string | null;
  readonly mediaType: string | null;
  readonly size: number;
  /** The mail that it lies in; null for a bare file. */
  readonly message: Message | null;
  /** Warnings about its mail and containers. */
  readonly warnings: WarningList;
}

class MailReader {
  readonly #hints: ReadHints;
  readonly #limits: IngestLimits;
  readonly #sink: ReportSink;
  readonly #warnings = new WarningList();
  readonly #items: ItemReading[] = [];
  readonly #budget: Budget;
  readonly #monotonic: () => number;
  readonly #deadline: number;
  readonly #counter = { parts: 0 };
  /** HTML that may contain an escaped report; used when nothing else is found. */
  readonly #html: Candidate[] = [];
  #headers: MailHeaders | null = null;
  /** Why nothing was found, when a limit or damage is the reason. */
  #stopped: ReadStop | null = null;
  /** The limit of reports is reached: nothing else is parsed. */
  #full: ReadStop | null = null;

  constructor(hints: ReadHints, limits: IngestLimits, monotonic: () => number, sink: ReportSink) {
    this.#hints = hints;
    this.#limits = limits;
    this.#sink = sink;
    this.#budget = new Budget(limits);
    this.#monotonic = monotonic;
    this.#deadline = monotonic() + limits.read_timeout;
  }

  read(raw: Buffer): MailReading {
    let autoReply = false;
    try {
      if (raw.length === 0) throw new ReadStop("empty");
      if (this.#hints.form === "mail" || sniff(raw.subarray(0, SNIFFED)) === "mail") {
        autoReply = this.#message(raw, 0, new WarningList());
      } else this.#file(raw);
      if (this.#items.length === 0) for (const html of this.#html) this.#escapedHtml(html);
    } catch (error) {
      if (!(error instanceof ReadStop)) throw error;
      this.#stopped ??= error;
    }
    const stopped = this.#items.length === 0 ? this.#stopped : null;
    return {
      headers: this.#headers,
      items: this.#items,
      warnings: this.#warnings.list(),
      reason: this.#items.length > 0 ? null : (stopped?.reason ?? (autoReply ? "auto-reply" : "no-report")),
      detail: stopped?.detail ?? null,
    };
  }

  /** A file that is not a mail: a report or a container. */
  #file(raw: Buffer): void {
    this.#candidate({
      source: { open: () => [raw] },
      name: this.#hints.fileName,
      mediaType: null,
      size: raw.length,
      message: null,
      warnings: new WarningList(),
    });
  }

  // ---- mails ------------------------------------------------------------------

  /** A mail or forwarded message; true when it is an automatic reply without a report. */
  #message(bytes: Buffer, forwards: number, carried: WarningList): boolean {
    const own = new WarningList();
    if (forwards > 0) own.add("forwarded");
    const { root, stopped } = readParts(bytes, this.#limits, own, this.#counter);
    this.#warnings.merge(own);
    const warnings = merged(carried, own);
    const message: Message = { bytes, root, headers: readMailHeaders(root.fields), forwards, warnings };
    this.#headers ??= message.headers;
    if (stopped) this.#stopped ??= stopped;
    const before = this.#items.length;
    if (this.#proseFirst(message)) return false;
    this.#part(message, root, [root]);
    if (this.#items.length === before && !stopped) this.#bounced(message);
    return this.#items.length === before && isAutoReply(root.fields);
  }

  /**
   * Feedback and bounces in prose, where nothing is labelled as a report. The mail that they return may be any, also one
   * of ours, and is never searched for reports.
   */
  #proseFirst(message: Message): boolean {
    const { root, headers } = message;
    if (holdsReport(root) || subjectHints(headers.subject).subjectDomain !== null) return false;
    const reading = this.#partReading(message, [root]);
    const item =
      readTextFeedback(root, reading) ??
      (isBounce(root, reading) ? readTextBounce(root, reading) : undefined);
    if (item) this.#items.push(item);
    return item !== undefined;
  }

  #part(message: Message, part: Part, siblings: readonly Part[]): void {
    if (part.children.length > 0) {
      if (this.#reportPart(message, part.children, part.mediaType)) return;
      for (const child of part.children) this.#part(message, child, part.children);
      return;
    }
    if (siblings.length === 1 && this.#reportPart(message, siblings, part.mediaType)) return;
    const candidate: Candidate = {
      source: { open: () => bodyOf(message.bytes, part) },
      name: part.fileName,
      mediaType: part.mediaType || null,
      size: part.end - part.start,
      message,
      warnings: merged(message.warnings),
    };
    if (MAIL_TYPE.test(part.mediaType)) this.#forwarded(candidate);
    else this.#candidate(candidate);
  }

  /** Feedback reports or a delivery status notification: parsed as such, and never searched for other reports. */
  #reportPart(message: Message, parts: readonly Part[], mediaType: string): boolean {
    const feedback = parts.filter((part) => isFeedbackPart(message.bytes, part));
    const status = feedback.length > 0 ? undefined : parts.find((part) => isStatusPart(message.bytes, part));
    if (feedback.length === 0 && !status) return false;
    const reading = this.#partReading(message, parts, mediaType);
    for (const part of feedback) this.#add(reading.part, () => readFeedback(part, reading));
    if (status) this.#add(reading.part, () => readDsn(status, reading));
    return true;
  }

  /** A bounce that may be something else. */
  #bounced(message: Message): void {
    const item = readTextBounce(message.root, this.#partReading(message, [message.root]));
    if (item) this.#items.push(item);
  }

  #partReading(message: Message, parts: readonly Part[], mediaType = message.root.mediaType): PartReading {
    const { bytes, headers, root } = message;
    // the copy of a message is often cut, its closing boundary with it: that is no defect of the report
    const carried = merged(message.warnings);
    carried.drop("mime-repaired");
    return {
      bytes,
      parts,
      headers,
      context: this.#context({ name: null, message, warnings: carried }),
      sink: this.#sink,
      part: { name: null, mediaType, size: root.end - root.start },
    };
  }

  #forwarded(candidate: Candidate): void {
    const forwards = candidate.message?.forwards ?? 0;
    if (forwards >= this.#limits.rfc822_depth) {
      this.#stopped ??= new ReadStop("too-deep", "forwarded messages inside each other");
      return;
    }
    this.#guarded(candidate, () => {
      const bytes = collect(candidate.source, { most: LARGEST_HELD });
      this.#message(bytes, forwards + 1, candidate.warnings);
    });
  }

  // ---- contents -----------------------------------------------------------------

  #candidate(candidate: Candidate): void {
    this.#guarded(candidate, () => this.#content(candidate, 0));
  }

  /** Parses a part; damage refuses this part alone. */
  #guarded(candidate: Candidate, work: () => void): void {
    try {
      if (this.#monotonic() > this.#deadline) throw new ReadStop("timeout");
      work();
    } catch (error) {
      if (!(error instanceof ReadStop) || error === this.#full) throw error;
      this.#refuse(candidate, error);
    }
  }

  #refuse(candidate: Candidate, stop: ReadStop): void {
    this.#add(info(candidate), () => refused(stop, info(candidate)));
  }

  #add(part: PartInfo, parse: () => ItemReading): void {
    this.#checkFull(part);
    this.#items.push(parse());
  }

  /** Ends the parsing of the mail when it may have no more reports: one refused item stands for all others. */
  #checkFull(part: PartInfo): void {
    const { reports } = this.#limits;
    if (this.#items.length < reports) return;
    if (this.#full === null) {
      this.#full = new ReadStop("too-many-reports", `over ${reports}; the rest of the mail is not parsed`);
      this.#items.push(refused(this.#full, part));
    }
    throw this.#full;
  }

  #content(given: Candidate, depth: number): void {
    const { head, source } = peek(given.source, SNIFFED);
    const candidate: Candidate = { ...given, source };
    const content = sniff(head);
    switch (content) {
      case "gzip":
      case "zlib":
      case "zip":
      case "tar":
        if (depth >= this.#limits.archive_depth)
          throw new ReadStop("too-deep", "containers inside each other");
        if (content === "zip") this.#zip(candidate, depth);
        else if (content === "tar") this.#tar(candidate, depth);
        else this.#inflated(candidate, content, depth);
        return;
      case "xml":
        this.#dmarc(candidate);
        return;
      case "json":
        this.#json(candidate);
        return;
      case "markup":
      case "html":
        if (claims(candidate)) this.#dmarc(candidate);
        else this.#html.push(candidate);
        return;
      case "mail":
        if (isSavedMail(candidate)) this.#forwarded(candidate);
        else this.#other(candidate, content, head);
        return;
      default:
        this.#other(candidate, content, head);
    }
  }

  #inflated(candidate: Candidate, wrapping: "gzip" | "zlib", depth: number): void {
    const { warnings } = candidate;
    if (depth > 0) warnings.add("gzip-nested");
    const options = { wrapping, budget: this.#budget, warnings, members: this.#limits.gzip_members };
    const source = inflated(candidate.source, options);
    this.#content({ ...candidate, source }, depth + 1);
  }

  #dmarc(candidate: Candidate): void {
    const part = info(candidate);
    this.#add(part, () => readDmarc(candidate.source, this.#context(candidate), this.#sink, part));
  }

  /** Skips a part that is not a report, unless it is labelled as one. */
  #other(candidate: Candidate, content: Content, head: Buffer): void {
    if (!claims(candidate)) return;
    if (content === "empty") throw new ReadStop("empty");
    if (content === "packed") throw new ReadStop("unsupported-method", "a container of another kind");
    const text = head.toString("latin1").trim();
    if (/^(?:unused|placeholder)$/i.test(text)) throw new ReadStop("placeholder");
    if (text === "" && head.length === SNIFFED) {
      this.#dmarc(candidate); // nothing but blanks so far: its parser goes on
      return;
    }
    throw new ReadStop(/json/i.test(`${candidate.name} ${candidate.mediaType}`) ? "bad-json" : "not-xml");
  }

  #json(candidate: Candidate): void {
    const bytes = collect(candidate.source, { most: this.#limits.json_size, noted: candidate.warnings });
    const start = bytes.toString("latin1", 0, SNIFFED);
    const looksLike = /"(?:policies|organization-name|report-id|date-range)"/.test(start);
    if (!looksLike && !claims(candidate)) return;
    const part = info(candidate);
    this.#add(part, () => readTls(bytes, this.#context(candidate), this.#sink, part));
  }

  #zip(candidate: Candidate, depth: number): void {
    const { message, warnings } = candidate;
    const bytes = collect(candidate.source, { most: LARGEST_HELD, noted: warnings });
    for (const entry of zipEntries(bytes, this.#limits, this.#budget, warnings)) {
      const { name, refused: stop, size, source } = entry;
      const inner: Candidate = { source, name, mediaType: null, size, message, warnings: merged(warnings) };
      if (stop) this.#refuse(inner, stop);
      else this.#guarded(inner, () => this.#content(inner, depth + 1));
    }
  }

  #tar({ source, message, warnings }: Candidate, depth: number): void {
    const entry = (name: string, content: Buffer): Candidate => ({
      source: { open: () => [content] },
      name,
      mediaType: null,
      size: content.length,
      message,
      warnings: merged(warnings),
    });
    const reader = new TarReader(LARGEST_HELD, (name, stop) =>
      this.#refuse(entry(name, Buffer.alloc(0)), stop),
    );
    let entries = 0;
    for (const chunk of source.open()) {
      for (const { name, content } of reader.write(chunk)) {
        if (++entries > this.#limits.archive_entries) throw new ReadStop("too-many-entries", "tar entries");
        if (name.slice(name.lastIndexOf("/") + 1).startsWith(".")) continue;
        const inner = entry(name, content);
        this.#guarded(inner, () => this.#content(inner, depth + 1));
      }
    }
    reader.end();
    if (entries === 0) throw new ReadStop("empty-archive");
  }

  /** A report pasted into HTML, with its markup escaped. */
  #escapedHtml(candidate: Candidate): void {
    this.#guarded(candidate, () => {
      const xml = unescapedReport(collect(candidate.source, { most: this.#limits.json_size }));
      if (!xml) return;
      candidate.warnings.add("html-escaped");
      this.#dmarc({ ...candidate, source: { open: () => [xml] } });
    });
  }

  // ---- for the parsers -------------------------------------------------------------

  #context({ name, message, warnings }: Pick<Candidate, "name" | "message" | "warnings">): ReadContext {
    const around = (): SurroundingHints => {
      const headers = message?.headers;
      const own = nameHints(name);
      return {
        ...subjectHints(headers?.subject ?? null),
        tlsReportDomain: headers?.tlsReportDomain ?? null,
        tlsReportSubmitter: headers?.tlsReportSubmitter ?? null,
        ...(own.nameBegin === null ? nameHints(this.#hints.fileName) : own),
      };
    };
    return {
      limits: this.#limits,
      hints: this.#hints,
      monotonic: this.#monotonic,
      deadline: this.#deadline,
      around,
      carried: warnings,
    };
  }
}

function info({ name, mediaType, size }: Candidate): PartInfo {
  return { name, mediaType, size };
}

function refused({ reason, detail }: ReadStop, part: PartInfo): ItemReading {
  return { ok: false, kind: null, reason, detail, part };
}

function merged(...lists: readonly WarningList[]): WarningList {
  const all = new WarningList();
  for (const list of lists) all.merge(list);
  return all;
}

/** A label that names a report. */
function claims({ name, mediaType }: Pick<Candidate, "name" | "mediaType">): boolean {
  return (
    (name !== null && (REPORT_NAME.test(name) || nameHints(name).nameBegin !== null)) ||
    REPORT_TYPE.test(mediaType ?? "")
  );
}

/** A part of the mail itself, not of one inside it, that is labelled as a report. */
function holdsReport(part: Part): boolean {
  return (
    /^message\/(?:feedback-report|(?:global-)?delivery-status)$/.test(part.mediaType) ||
    claims({ name: part.fileName, mediaType: part.mediaType }) ||
    part.children.some(holdsReport)
  );
}

function isSavedMail({ name, mediaType }: Candidate): boolean {
  return MAIL_NAME.test(name ?? "") || mediaType === null || mediaType === "application/octet-stream";
}
