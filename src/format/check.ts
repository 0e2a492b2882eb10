/** Parses a file and stores nothing: what `mailreportctl check` does, with no daemon and no network. */
import type { IngestLimits } from "../config/schema.ts";
import { mailOutcome } from "../model/mail-outcome.ts";
import type { ReportSink, ReportWriter } from "../model/reading.ts";
import { type WireFile, wireReports } from "../model/wire-report.ts";
import { readMail } from "./mail/read.ts";

/** A file, or one member of a collection. */
export interface CheckedFile {
  readonly file: string;
  /** Number or name inside a collection; null for the file itself. */
  readonly member?: string | null;
  readonly raw: Uint8Array;
  /** `mail`: certainly a message, as in an mbox. */
  readonly form?: "mail" | "file";
}

const countingWriter: ReportWriter = { record() {}, policy() {}, close() {}, abort() {} };
const countingSink: ReportSink = { open: () => countingWriter, whole() {} };

/**
 * The outcome and figures of one file; each file by itself, so none is a duplicate.
 * @param now epoch seconds
 */
export function checkFile(
  { file, member = null, raw, form = "file" }: CheckedFile,
  limits: IngestLimits,
  now: number,
  monotonic: () => number,
): WireFile & { readonly detail: string | null } {
  const fileName = (member ?? file).replace(/^.*[/\\]/s, "");
  const reading = readMail(raw, { form, fileName, receivedAt: now }, limits, monotonic, countingSink);
  const items = reading.items.map((item) => (item.ok ? { ...item, kept: "new" as const } : item));
  const { outcome, reason, detail } = mailOutcome({ ...reading, items });
  const name = member === null ? { file } : { file, member };
  return { ...name, outcome, reason, reports: wireReports(reading.items), detail };
}
