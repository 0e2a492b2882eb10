/** Maintenance of the archive. */
import type { RetentionPolicy } from "../../model/retention.ts";

/** How much has expired and can be deleted. */
export type Expirable = Readonly<
  Record<
    | "raw_mails"
    | "feedback_reports"
    | "reports_with_records"
    | "mails"
    | "day_sums"
    | "report_keys"
    /** Sources, authentication results, heads, domains and organisations to which nothing refers any more. */
    | "names",
    number
  >
>;

/** One slice of retention. */
export interface ExpirySlice {
  /** Rows that were deleted. */
  readonly rows: number;
  /** False: nothing is left to do. */
  readonly more: boolean;
}

/** Pages and bytes of the archive. */
export interface ArchiveSize {
  readonly page_size: number;
  readonly pages: number;
  readonly free_pages: number;
  readonly raw_mails: number;
  readonly raw_bytes: number;
}

/** Maintenance of the archive, beside intake: each call does some milliseconds of work. */
export interface ArchiveMaintenance {
  /**
   * Deletes some of what has expired, at most about `rows` rows: bytes of mails, records, feedback reports, mails with
   * their reports, day sums, and names to which nothing refers any more. Errors: `store.*`.
   * @param now epoch seconds
   */
  expire(now: number, policy: RetentionPolicy, rows: number): Promise<ExpirySlice>;
  /** Gives some unused pages back to the file system, at most `pages`; returns how many are left. Errors: `store.*`. */
  vacuum(pages: number): Promise<number>;
  /** Copies the write-ahead log into the database, as far as no reader needs it. Errors: `store.*`. */
  checkpoint(): Promise<void>;
}
