/** One line of the log for the fate of each report of a mail; and one for a bug that stopped its parser. */
import { MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { logFailure } from "../../lib/supervised.ts";
import type { IntakeResult } from "../../store/archive/intake.ts";

export function logReports(log: Log, { mailId, items, reportIds, detail, stack }: IntakeResult): void {
  const mail = `m${mailId}`;
  if (stack !== undefined) {
    const cause = Object.assign(new Error(detail ?? ""), { stack });
    const error = new MailreportError("daemon.bug", { detail: detail ?? "", cause });
    logFailure({ log, unit: "parse", fields: { mail } }, { error, bug: true });
  }
  let fresh = 0;
  for (const item of items) {
    if (!item.ok) {
      const { kind, reason, detail: what } = item;
      log.warn("report.invalid", { mail, kind, reason, detail: what });
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
