/** Maintenance of the archive. */

/** Seconds to keep, from the time when a mail or report was received. */
export interface RetentionPolicy {
  readonly raw: number;
  readonly failedRaw: number;
  readonly records: number;
  readonly feedback: number;
}

/** How much has expired and can be deleted. */
export type Expirable = Readonly<Record<"raw_mails" | "feedback_reports" | "reports_with_records", number>>;

/** Pages and bytes of the archive. */
export interface ArchiveSize {
  readonly page_size: number;
  readonly pages: number;
  readonly free_pages: number;
  readonly raw_mails: number;
  readonly raw_bytes: number;
}
