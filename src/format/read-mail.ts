/**
 * Reads all reports of a mail or file: walks its parts, opens its containers, and hands each report to its reader.
 * Content decides what a part is; labels break ties. One bad part never stops the rest. Nothing here uses a network.
 */
import type { IngestLimits } from "../config/schema.ts";
import { WarningList } from "../model/outcome.ts";
import type {
  ItemReading,
  MailHeaders,
  MailReading,
  PartInfo,
  ReadHints,
  ReportSink,
} from "../model/reading.ts";
import { Budget } from "./container/budget.ts";
import { inflated } from "./container/inflate.ts";
import { SNIFFED, sniff } from "./container/sniff.ts";
import { TarReader } from "./container/tar.ts";
import { zipEntries } from "./container/zip.ts";
import { type ByteSource, type ReadContext, ReadStop, type SurroundingHints } from "./context.ts";
import { readDmarc } from "./dmarc-read.ts";
import { readDsn, readTextBounce } from "./dsn-read.ts";
import { readFeedback, readTextFeedback } from "./feedback-read.ts";
import { isAutoReply, readMailHeaders } from "./mail-headers.ts";
import { bodyOf, type Part, readParts } from "./mime/parts.ts";
import { nameHints, subjectHints } from "./name-hints.ts";
import { readTls } from "./tlsrpt-read.ts";

const REPORT_NAME = /\.(?:xml|json)(?:\.(?:gz|gzip|zip))*$/i;
const REPORT_TYPE = /^(?:text|application)\/(?:xml|[\w.-]+\+xml)$|tlsrpt/;

/** Reads one mail or file. Never throws for any input. */
export function readMail(
  raw: Uint8Array,
  hints: ReadHints,
  limits: IngestLimits,
  monotonic: () => number,
  sink: ReportSink,
): MailReading {
  return new MailReader(hints, limits, monotonic, sink).read(
    Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength),
  );
}

/** Something in a mail that may be or hold a report. */
interface Candidate {
  readonly source: ByteSource;
  readonly name: string | null;
  readonly mediaType: string | null;
  readonly size: number;
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
  /** HTML that may hold an escaped report, looked at when nothing else is found. */
  readonly #html: Candidate[] = [];
  #headers: MailHeaders | null = null;
  /** Why nothing was found, when something stood in the way. */
  #stopped: ReadStop | null = null;

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
      if (this.#hints.form === "mail") autoReply = this.#message(raw, 0);
      else {
        const candidate = {
          source: { open: () => [raw] },
          name: this.#hints.fileName,
          mediaType: null,
          size: raw.length,
        };
        autoReply = this.#file(candidate, raw);
      }
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

  /** A file: a report, a container, or a saved mail. */
  #file(candidate: Candidate, raw: Buffer): boolean {
    if (sniff(raw.subarray(0, SNIFFED)) === "mail") return this.#message(raw, 0);
    this.#content(candidate, 0);
    return false;
  }

  // ---- mails ------------------------------------------------------------------

  /** A mail or forwarded message; true when it is an automatic reply without a report. */
  #message(bytes: Buffer, forwards: number): boolean {
    const { root, stopped } = readParts(bytes, this.#limits, this.#warnings, this.#counter);
    const headers = readMailHeaders(root.fields);
    const outer = this.#headers;
    if (forwards === 0) this.#headers = headers;
    else {
      this.#warnings.add("forwarded");
      this.#headers = headers; // the report's own mail: its Subject and date are the hints
    }
    if (stopped) this.#stopped ??= stopped;
    const before = this.#items.length;
    this.#part(bytes, root, forwards);
    if (this.#items.length === before) this.#textForms(bytes, root, headers);
    if (outer) this.#headers = outer;
    return this.#items.length === before && isAutoReply(root.fields);
  }

  #part(bytes: Buffer, part: Part, forwards: number): void {
    if (part.mediaType.startsWith("multipart/")) {
      if (this.#reportPart(bytes, part)) return;
      for (const child of part.children) this.#part(bytes, child, forwards);
      return;
    }
    const candidate: Candidate = {
      source: { open: () => bodyOf(bytes, part) },
      name: part.fileName,
      mediaType: part.mediaType || null,
      size: part.end - part.start,
    };
    if (/^message\/(?:rfc822|global)$/.test(part.mediaType)) {
      this.#forwarded(candidate, forwards);
      return;
    }
    this.#guarded(candidate, () => this.#content(candidate, 0, forwards));
  }

  /** A feedback report or delivery status notification: read as such, and never looked into for other reports. */
  #reportPart(bytes: Buffer, part: Part): boolean {
    const feedback = part.children.find((child) => child.mediaType === "message/feedback-report");
    const status = part.children.find((child) =>
      /^message\/(?:global-)?delivery-status$/.test(child.mediaType),
    );
    if (!feedback && !status) return false;
    const info = this.#info({ name: null, mediaType: part.mediaType, size: part.end - part.start });
    const context = this.#context(null);
    const read = {
      bytes,
      parts: part.children,
      headers: this.#headers,
      context,
      sink: this.#sink,
      part: info,
    };
    this.#items.push(feedback ? readFeedback(feedback, read) : readDsn(status!, read));
    return true;
  }

  /** Reports in prose: plain-text failure reports and bounces. */
  #textForms(bytes: Buffer, root: Part, headers: MailHeaders): void {
    if (this.#stopped) return;
    const info = this.#info({ name: null, mediaType: root.mediaType, size: root.end - root.start });
    const read = {
      bytes,
      parts: [root],
      headers,
      context: this.#context(null),
      sink: this.#sink,
      part: info,
    };
    const item = readTextFeedback(root, read) ?? readTextBounce(root, read);
    if (item) this.#items.push(item);
  }

  #forwarded(candidate: Candidate, forwards: number): void {
    if (forwards >= this.#limits.rfc822_depth) {
      this.#stopped ??= new ReadStop("too-deep", "forwarded messages inside each other");
      return;
    }
    this.#guarded(candidate, () => void this.#message(collect(candidate.source), forwards + 1));
  }

  // ---- contents -----------------------------------------------------------------

  /** Reads a part whose damage is its own matter. */
  #guarded(candidate: Candidate, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ReadStop)) throw error;
      this.#refuse(candidate, error);
    }
  }

  #refuse(candidate: Candidate, stop: ReadStop): void {
    const { reason, detail } = stop;
    this.#items.push({ ok: false, kind: null, reason, detail, part: this.#info(candidate) });
  }

  #content(given: Candidate, depth: number, forwards = 0): void {
    const { head, source: peeked } = peek(given.source);
    const candidate: Candidate = { ...given, source: peeked };
    const content = sniff(head);
    if (
      depth >= this.#limits.archive_depth &&
      (content === "gzip" || content === "zip" || content === "zlib" || content === "tar")
    ) {
      throw new ReadStop("too-deep", "containers inside each other");
    }
    switch (content) {
      case "gzip":
      case "zlib": {
        if (depth > 0) this.#warnings.add("gzip-nested");
        const options = {
          budget: this.#budget,
          warnings: this.#warnings,
          members: this.#limits.gzip_members,
        };
        const source = inflated(candidate.source, { wrapping: content, ...options });
        this.#content({ ...candidate, source, name: innerName(candidate.name) }, depth + 1, forwards);
        return;
      }
      case "zip":
        this.#zip(candidate, depth, forwards);
        return;
      case "tar":
        this.#tar(candidate, depth, forwards);
        return;
      case "xml":
        this.#items.push(
          readDmarc(candidate.source, this.#context(candidate.name), this.#sink, this.#info(candidate)),
        );
        return;
      case "json":
        this.#json(candidate);
        return;
      case "markup":
      case "html":
        if (claims(candidate))
          this.#items.push(
            readDmarc(candidate.source, this.#context(candidate.name), this.#sink, this.#info(candidate)),
          );
        else this.#html.push(candidate);
        return;
      case "mail":
        if (isSavedMail(candidate)) this.#forwarded(candidate, forwards);
        else this.#other(candidate, content);
        return;
      default:
        this.#other(candidate, content);
    }
  }

  /** What is no report is passed over, unless its label says that it is one. */
  #other(candidate: Candidate, content: "empty" | "mail" | "other"): void {
    const { head } = peek(candidate.source);
    if (content === "empty") {
      if (claims(candidate)) throw new ReadStop("empty");
      return;
    }
    if (!claims(candidate)) return;
    if (/^\s*(?:unused|placeholder)\s*$/i.test(head.toString("latin1"))) throw new ReadStop("placeholder");
    throw new ReadStop(/json/i.test(`${candidate.name} ${candidate.mediaType}`) ? "bad-json" : "not-xml");
  }

  #json(candidate: Candidate): void {
    const bytes = collect(candidate.source, this.#limits.json_size + 1);
    const looksLike = /"(?:policies|organization-name|report-id|date-range)"/.test(
      bytes.toString("latin1", 0, SNIFFED),
    );
    if (!looksLike && !claims(candidate)) return;
    this.#items.push(readTls(bytes, this.#context(candidate.name), this.#sink, this.#info(candidate)));
  }

  #zip(candidate: Candidate, depth: number, forwards: number): void {
    const entries = zipEntries(collect(candidate.source), this.#limits, this.#budget, this.#warnings);
    for (const { name, refused, size, source } of entries) {
      const entry: Candidate = { source, name, mediaType: null, size };
      if (refused) this.#refuse(entry, refused);
      else this.#guarded(entry, () => this.#content(entry, depth + 1, forwards));
    }
  }

  #tar(candidate: Candidate, depth: number, forwards: number): void {
    const reader = new TarReader(this.#limits.decompressed_size);
    let entries = 0;
    for (const chunk of candidate.source.open()) {
      for (const { name, content } of reader.write(chunk)) {
        if (++entries > this.#limits.archive_entries) throw new ReadStop("too-many-entries", "tar entries");
        if (name.slice(name.lastIndexOf("/") + 1).startsWith(".")) continue;
        const entry: Candidate = {
          source: { open: () => [content] },
          name,
          mediaType: null,
          size: content.length,
        };
        this.#guarded(entry, () => this.#content(entry, depth + 1, forwards));
      }
    }
    reader.end();
    if (entries === 0) throw new ReadStop("empty-archive");
  }

  /** A report pasted into HTML, its markup escaped. */
  #escapedHtml(candidate: Candidate): void {
    const text = collect(candidate.source, this.#limits.json_size).toString("utf8");
    const start = text.search(/&lt;(?:\?xml|feedback)/i);
    const end = text.lastIndexOf("&lt;/feedback&gt;");
    if (start < 0 || end < start) return;
    this.#warnings.add("html-escaped");
    const xml = text
      .slice(start, end + "&lt;/feedback&gt;".length)
      .replace(/<[^>]{0,1000}>/g, "")
      .replace(/&nbsp;/g, " ")
      .replace(/&lt;/g, "<")
      .replace(/&gt;/g, ">")
      .replace(/&quot;/g, '"')
      .replace(/&amp;/g, "&");
    const source = { open: () => [Buffer.from(xml)] };
    this.#items.push(readDmarc(source, this.#context(candidate.name), this.#sink, this.#info(candidate)));
  }

  // ---- for the readers -------------------------------------------------------------

  #info({ name, mediaType, size }: Pick<Candidate, "name" | "mediaType" | "size">): PartInfo {
    return { name, mediaType, size };
  }

  #context(name: string | null): ReadContext {
    const headers = this.#headers;
    const own = nameHints(name);
    const around: SurroundingHints = {
      ...subjectHints(headers?.subject ?? null),
      tlsReportDomain: headers?.tlsReportDomain ?? null,
      tlsReportSubmitter: headers?.tlsReportSubmitter ?? null,
      ...(own.nameBegin === null ? nameHints(this.#hints.fileName) : own),
    };
    return {
      limits: this.#limits,
      hints: this.#hints,
      monotonic: this.#monotonic,
      deadline: this.#deadline,
      around,
    };
  }
}

/** A label that says "report". */
function claims({ name, mediaType }: Candidate): boolean {
  return (
    (name !== null && (REPORT_NAME.test(name) || nameHints(name).nameBegin !== null)) ||
    REPORT_TYPE.test(mediaType ?? "")
  );
}

function isSavedMail({ name, mediaType }: Candidate): boolean {
  return (
    /\.(?:eml|msg|mbox)$/i.test(name ?? "") || mediaType === null || mediaType === "application/octet-stream"
  );
}

/** `x.xml.gz` → `x.xml`. */
function innerName(name: string | null): string | null {
  return name?.replace(/\.(?:gz|gzip|zz|zlib|tgz)$/i, "") ?? null;
}

/**
 * The first bytes of a source, and the source: opened the first time, it goes on with what was read for looking. A
 * container that is damaged later is found out by its reader.
 */
function peek(source: ByteSource): { readonly head: Buffer; readonly source: ByteSource } {
  const chunks: Uint8Array[] = [];
  const iterator = source.open()[Symbol.iterator]();
  let size = 0;
  let fresh = true;
  let stop: ReadStop | undefined;
  try {
    while (size < SNIFFED) {
      const { value, done } = iterator.next();
      if (done) break;
      chunks.push(value);
      size += value.length;
    }
  } catch (error) {
    if (!(error instanceof ReadStop) || size === 0) throw error;
    stop = error;
  }
  function* goOn(): Generator<Uint8Array> {
    yield* chunks;
    if (stop) throw stop;
    for (;;) {
      const { value, done } = iterator.next();
      if (done) return;
      yield value;
    }
  }
  return {
    head:
      chunks.length === 1
        ? Buffer.from(chunks[0]!.buffer, chunks[0]!.byteOffset, Math.min(size, SNIFFED))
        : Buffer.concat(chunks).subarray(0, SNIFFED),
    source: {
      open() {
        if (!fresh) return source.open();
        fresh = false;
        return goOn();
      },
    },
  };
}

/** All bytes of a source. Throws ReadStop `too-large` beyond `most`. */
function collect(source: ByteSource, most = Number.POSITIVE_INFINITY): Buffer {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (const chunk of source.open()) {
    size += chunk.length;
    if (size > most) throw new ReadStop("too-large", `over ${most} bytes`);
    chunks.push(chunk);
  }
  return chunks.length === 1
    ? Buffer.from(chunks[0]!.buffer, chunks[0]!.byteOffset, chunks[0]!.byteLength)
    : Buffer.concat(chunks);
}
