/**
 * Every composed report is parsed again and compared with what went in, before it is queued: by our own readers,
 * record by record, and where that is cheap by a parser that is not ours.
 */
import type { IngestLimits } from "../../config/schema.ts";
import { MailreportError } from "../../lib/errors.ts";
import type { Warning } from "../../model/outcome.ts";
import type { ItemReading, PartInfo, ReportSink, ReportWriter } from "../../model/reading.ts";
import type { DmarcHead, DmarcRecord, TlsHead, TlsPolicyResult } from "../../model/report.ts";
import type { ReadContext } from "../context.ts";

/** Throws `compose.readback_differs`. @param what where, and what was found */
export function differs(what: string): never {
  throw new MailreportError("compose.readback_differs", { detail: what });
}

export function same(what: string, read: unknown, wanted: string | number): void {
  if (read === wanted) return;
  differs(
    `${what}: ${JSON.stringify(read)?.slice(0, 100)} in place of ${JSON.stringify(wanted).slice(0, 100)}`,
  );
}

/** The reports are our own: nothing of them is cut or refused for its size. */
const ENDLESS = Number.MAX_SAFE_INTEGER;
const LIMITS: IngestLimits = {
  mime_parts: 1,
  mime_depth: 1,
  rfc822_depth: 0,
  archive_depth: 1,
  archive_entries: 1,
  reports: 1,
  gzip_members: 1,
  header_size: ENDLESS,
  header_fields: ENDLESS,
  decompressed_size: ENDLESS,
  decompression_ratio: ENDLESS,
  xml_depth: 32,
  xml_attributes: 200,
  records: ENDLESS,
  json_depth: 32,
  json_size: ENDLESS,
  tls_policies: ENDLESS,
  tls_details: ENDLESS,
  field: 1 << 20,
  comment: 1 << 20,
  sample_headers: 0,
  sample_body: 0,
  read_timeout: ENDLESS,
  ingest_memory: ENDLESS,
  spool_threshold: ENDLESS,
};

/** What the readers are told about a report that ended at `end`, epoch seconds. */
export function readBackContext(end: number): ReadContext {
  return {
    limits: LIMITS,
    hints: { form: "file", fileName: null, receivedAt: end },
    monotonic: () => 0,
    deadline: ENDLESS,
    around: () => ({
      subjectReportId: null,
      subjectSubmitter: null,
      subjectDomain: null,
      tlsReportDomain: null,
      tlsReportSubmitter: null,
      nameReceiver: null,
      nameDomain: null,
      nameBegin: null,
      nameEnd: null,
    }),
  };
}

export const PART: PartInfo = { name: null, mediaType: null, size: 0 };

/** A sink that compares what it is given. */
export function comparing(compare: {
  readonly head?: (head: DmarcHead | TlsHead) => void;
  readonly record?: (record: DmarcRecord) => void;
  readonly policy?: (policy: TlsPolicyResult) => void;
}): ReportSink {
  const writer: ReportWriter = {
    record: (record) => compare.record?.(record),
    policy: (policy) => compare.policy?.(policy),
    close: () => "new",
    abort() {},
  };
  return {
    open(head) {
      compare.head?.(head);
      return writer;
    },
    whole: () => "new",
  };
}

/** What a reader notes about a text that is not what a writer of ours makes. */
const NEVER: ReadonlySet<Warning> = new Set<Warning>([
  "leading-text",
  "trailing-text",
  "encoding-repaired",
  "xml-repaired",
  "xml-truncated",
  "unknown-element",
  "field-cut",
  "policy-repeated",
  "no-records",
  "row-dropped",
  "json-repeated-key",
  "json-shape",
]);

/** The reader must have found all of it, and nothing to repair. */
export function complete(reading: ItemReading, records: number, messages: number): void {
  if (!reading.ok) differs(`${reading.reason}${reading.detail === null ? "" : `: ${reading.detail}`}`);
  const { figures } = reading;
  const odd = figures.warnings.find(({ code }) => NEVER.has(code));
  if (odd) differs(`it needs repair: ${odd.code}`);
  same("number of records", figures.records, records);
  same("sum of counts", figures.messages, messages);
}
