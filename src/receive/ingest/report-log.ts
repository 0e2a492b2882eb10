/** One line of the log for the fate of each report of a mail. */
import type { Log } from "../../lib/log/log.ts";
import type { IntakeResult } from "../../store/archive.ts";

export function logReports(log: Log, { mailId, items, reportIds }: IntakeResult): void {
  const mail = `m${mailId}`;
  let fresh = 0;
  for (const item of items) {
    if (!item.ok) {
      const { kind, reason, detail } = item;
      log.warn("report.invalid", { mail, kind, reason, detail });
      continue;
    }
    const { kind, orgName, reportId, policyDomain, records, messages } = item.figures;
    const fields = { mail, kind, org: orgName, report_id: reportId, domain: policyDomain };
    if (item.kept === "new") {
      log.info("report.stored", { id: `r${reportIds[fresh++]}`, ...fields, records, messages });
    } else if (item.kept !== "refused") {
      log.info("report.duplicate", { ...fields, conflict: item.kept === "conflict" });
    }
  }
}
