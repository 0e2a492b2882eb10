/** Parses a file and stores nothing: `mailreportctl check`, without daemon and network. */
import type { IngestLimits } from "../config/schema.ts";
import { mailOutcome } from "../model/mail-outcome.ts";
import type { ReportSink, ReportWriter } from "../model/reading.ts";
import { type WireFile, wireReports } from "../model/wire-report.ts";
import { readMail } from "./mail/read.ts";

const countingWriter: ReportWriter = { record() {}, policy() {}, close: () => "new", abort() {} };
const countingSink: ReportSink = { open: () => countingWriter, whole: () => "new" };

/**
 * The outcome and figures of one file; each file by itself, so none is a duplicate.
 * @param now epoch seconds
 */
export function checkFile(
  raw: Uint8Array,
  file: string,
  limits: IngestLimits,
  now: number,
  monotonic: () => number,
): WireFile & { readonly detail: string | null } {
  const fileName = file.slice(file.lastIndexOf("/") + 1);
  const reading = readMail(raw, { form: "file", fileName, receivedAt: now }, limits, monotonic, countingSink);
  const { outcome, reason, detail } = mailOutcome(reading);
  return { file, outcome, reason, reports: wireReports(reading.items), detail };
}
