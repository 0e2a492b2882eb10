/** Which reports are kept and counted. */
import type { ReportKind } from "./report.ts";

/** Which reports are kept and counted; from the configuration. */
export interface ReceivePolicy {
  /** Our policy domains; empty: all are ours. */
  readonly domains: readonly string[];
  readonly requireAuth: Readonly<Record<ReportKind, "off" | "flag" | "reject">>;
  /** Kinds whose reports count though their mail was not authenticated. */
  readonly countUnverified: readonly ReportKind[];
  /** Report mails are verified (by us or a trusted server), so that `none` means a failure to authenticate. */
  readonly verifies: boolean;
}
