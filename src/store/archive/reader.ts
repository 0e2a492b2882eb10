/** Questions about the archive. */
import type { ArchiveFilterValues, ArchiveListName, ArchiveRow } from "../../model/lists/lists.ts";
import type { PartInfo } from "../../model/reading.ts";
import type { DmarcHead, DsnReport, FeedbackReport, TlsHead, TlsPolicyResult } from "../../model/report.ts";
import type { RetentionPolicy } from "../../model/retention.ts";
import type { ArchiveSize, Expirable } from "./maintenance.ts";

/**
 * Filters of all lists; a list applies those that its description has. Windows are half-open [since, until) on overlap
 * of the report range, epoch seconds.
 */
export type ArchiveFilter = ArchiveFilterValues;

export interface ArchivePage {
  readonly limit: number;
  /** `next` of the page before. */
  readonly after?: string;
}

export interface ArchivePaged<T> {
  readonly items: readonly T[];
  /** The cursor of the next page; null at the end. */
  readonly next: string | null;
}

/** One accepted mail or imported file. */
export type ReceivedMail = ArchiveRow<"received">;
/** A received report in lists. */
export type ReceivedReport = ArchiveRow<"reports">;

export type ReportDetail = ReceivedReport & {
  /** Where it lay in its mail: labels of the attachment or archive entry, outside text. */
  readonly part: PartInfo;
  readonly head: DmarcHead | TlsHead | FeedbackReport | DsnReport;
};

/** Questions about the archive. Every method may be slow: an implementation does not run on the main thread. */
export interface ArchiveReader {
  /**
   * A page of a list (model/lists): rows with exactly its fields, times in epoch seconds. A list that is loaded as a
   * whole has one page.
   */
  list<N extends ArchiveListName>(
    name: N,
    filter: ArchiveFilter,
    page: ArchivePage,
  ): Promise<ArchivePaged<ArchiveRow<N>>>;
  receivedMail(id: string): Promise<ReceivedMail | undefined>;
  rawMail(id: string): Promise<Uint8Array | undefined>;
  report(id: string): Promise<ReportDetail | undefined>;
  tlsPolicies(reportId: string): Promise<readonly TlsPolicyResult[]>;
  /** Counters for `show stats`: `archive.report.dmarc`, `archive.record`, `archive.message.pass`… of what is stored now. */
  stats(): Promise<Record<string, number>>;
  /** What retention would delete now. */
  expirable(now: number, policy: RetentionPolicy): Promise<Expirable>;
  size(): Promise<ArchiveSize>;
  close(): Promise<void>;
}

/** Who asks, as far as an answer depends on it. */
export interface Asker {
  /** Aborted when nobody waits for the answer any more: the question is cancelled. */
  readonly signal?: AbortSignal;
  /** Milliseconds that one question may take, waiting included; default: 30 s. A list sends one question per page. */
  readonly deadlineMs?: number;
}

/**
 * The archive as the daemon asks it: many askers at once. Errors of each question, besides those of the store:
 * `archive.busy` when too many questions wait (nothing was begun), `archive.deadline`, `archive.cancelled`,
 * `daemon.stopping`.
 */
export interface ArchiveQuestions extends ArchiveReader {
  /** The same archive for one asker. `close` of it does nothing. */
  for(asker: Asker): ArchiveReader;
  /** Counters for `show stats`: `archive.readers`, `archive.questions`, `archive.cancelled`… */
  counters(): Record<string, number>;
}
