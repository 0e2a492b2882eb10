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

/** Upkeep of the archive, beside intake. */
export interface ArchiveMaintenance {
  /** One slice of retention; returns deleted rows, 0 when there is nothing left to do. */
  expire(now: number, policy: RetentionPolicy, rows: number): Promise<number>;
  /** Online copy to a new file; a copy that fails leaves no file. Other work goes on meanwhile. Errors: `store.*`. */
  backup(path: string): Promise<{ readonly bytes: number }>;
  /** Gives up to `pages` unused pages back; returns how many are left. */
  vacuum(pages: number): Promise<number>;
  checkpoint(): Promise<void>;
}
