/** What every parser gets: the limits, the hints and a deadline. */
import type { IngestLimits } from "../config/schema.ts";
import type { Reason, WarningList } from "../model/outcome.ts";
import type { ReadHints } from "../model/reading.ts";

export interface ReadContext {
  readonly limits: IngestLimits;
  readonly hints: ReadHints;
  /** Monotonic milliseconds; handed in so that tests need not wait. */
  readonly monotonic: () => number;
  /** The deadline, by the same clock. */
  readonly deadline: number;
  /** Hints from around the report, for lost fields (the mail's Subject, file names, TLS-Report headers). */
  readonly around: () => SurroundingHints;
  /** Warnings about the mail and the containers of the report; complete when the last byte is read. */
  readonly carried?: WarningList;
}

export interface SurroundingHints {
  /** Report-ID, Submitter, Report Domain of the Subject (RFC 9990 3.5.2), where present. */
  readonly subjectReportId: string | null;
  readonly subjectSubmitter: string | null;
  readonly subjectDomain: string | null;
  readonly tlsReportDomain: string | null;
  readonly tlsReportSubmitter: string | null;
  /** Of `receiver!domain!begin!end[!id].ext`, from the attachment, entry or file name. */
  readonly nameReceiver: string | null;
  readonly nameDomain: string | null;
  readonly nameBegin: number | null;
  readonly nameEnd: number | null;
}

/**
 * Bytes that can be read again from the start: the second pass of a report whose metadata follows its records.
 * Iterating throws ReadStop when a limit is passed or the container is damaged beyond use.
 */
export interface ByteSource {
  open(): Iterable<Uint8Array>;
}

/** Stops parsing one part, with the reason. The only exception that parsers throw on purpose. */
export class ReadStop extends Error {
  readonly reason: Reason;
  readonly detail: string | null;

  constructor(reason: Reason, detail: string | null = null) {
    super(detail ? `${reason}: ${detail}` : reason);
    this.name = "ReadStop";
    this.reason = reason;
    this.detail = detail;
  }
}

/** Throws ReadStop `timeout` past the deadline; call it every few thousand steps. */
export function checkDeadline(context: ReadContext): void {
  if (context.monotonic() > context.deadline) throw new ReadStop("timeout");
}
