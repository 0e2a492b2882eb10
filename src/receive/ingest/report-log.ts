/** An event for each report of a mail, and a log line for a bug that stopped its parser. */
import { MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { logFailure } from "../../lib/supervised.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import type { IntakeResult } from "../../store/archive/intake.ts";

export interface ReportLogOptions {
  readonly log: Log;
  readonly events: DaemonEventSink;
}

export function reportEvents({ log, events }: ReportLogOptions, result: IntakeResult): void {
  const { mailId, items, reportIds, detail, stack } = result;
  const mail = `m${mailId}`;
  if (stack !== undefined) {
    const cause = Object.assign(new Error(detail ?? ""), { stack });
    const error = new MailreportError("daemon.bug", { detail: detail ?? "", cause });
    logFailure({ log, unit: "parse", fields: { mail } }, { error, bug: true });
  }
  let stored = 0;
  for (const item of items) {
    if (!item.ok) {
      events.emit("report.invalid", { mail, kind: item.kind, reason: item.reason, detail: item.detail });
      continue;
    }
    const { kind, orgName, reportId, policyDomain, records, messages } = item.figures;
    const fields = { mail, kind, org: orgName, report_id: reportId, domain: policyDomain };
    if (item.kept === "new") {
      events.emit("report.stored", { id: `r${reportIds[stored++]}`, ...fields, records, messages });
    } else if (item.kept !== "refused") {
      events.emit("report.duplicate", { ...fields, conflict: item.kept === "conflict" });
    }
  }
}
