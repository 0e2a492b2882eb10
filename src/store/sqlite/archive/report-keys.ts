/** What tells a report from all others in the archive. */

import type { StagedReport } from "../../../model/staged.ts";
import { domainsOf } from "../../../model/staged.ts";

export interface ReportKey {
  readonly kind: StagedReport["content"]["kind"];
  readonly org: string;
  readonly reportId: string;
  /** Policy domains. */
  readonly domains: readonly string[];
  readonly begin: number;
  readonly end: number;
}

/**
 * The key of a report. Failure, abuse and delivery status reports have no id of their own: the hash of their content is
 * their identity, and their period is when the reported mail arrived.
 * @param receivedAt epoch seconds
 */
export function keyOf({ content, figures, contentHash }: StagedReport, receivedAt: number): ReportKey {
  const domains = domainsOf(content);
  if (content.kind === "dmarc" || content.kind === "tls") {
    const { orgName, reportId, begin, end } = content.head;
    return { kind: content.kind, org: orgName, reportId, domains, begin, end };
  }
  const begin = figures.begin ?? receivedAt;
  const org = figures.orgName ?? "";
  return { kind: content.kind, org, reportId: contentHash, domains, begin, end: figures.end ?? begin };
}
