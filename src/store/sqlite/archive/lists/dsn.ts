/** Delivery status notifications, recipient by recipient; one without recipients is one row. */
import type { ArchiveRow } from "../../../../model/lists/lists.ts";
import type { DsnRecipient, DsnReport } from "../../../../model/report.ts";
import type { ReceivedReport } from "../../../archive/reader.ts";
import { reportHead } from "../report-detail.ts";
import { rowsOfReports } from "./reports.ts";
import type { ListSource, SourceTools } from "./source.ts";

function toRow(report: ReceivedReport, dsn: DsnReport, r: DsnRecipient | null): ArchiveRow<"dsn"> {
  return {
    ...report,
    arrival_at: dsn.date,
    reporting_mta: dsn.reportingMta,
    original_envelope_id: dsn.originalEnvelopeId,
    original_message_id: dsn.originalMessageId,
    structured: dsn.structured,
    recipient: r?.finalRecipient ?? null,
    original_recipient: r?.originalRecipient ?? null,
    action: r?.action ?? null,
    status: r?.status ?? null,
    remote_mta: r?.remoteMta ?? null,
    diagnostic: r?.diagnostic ?? null,
    last_attempt_at: r?.lastAttempt ?? null,
    will_retry_until: r?.willRetryUntil ?? null,
  };
}

export const makeDsn =
  (tools: SourceTools): ListSource<"dsn"> =>
  (filter, page) =>
    rowsOfReports(tools, { ...filter, kind: "dsn" }, page, (report, id) => {
      const dsn = reportHead(tools.ask, id) as DsnReport;
      const recipients = dsn.recipients.length > 0 ? dsn.recipients : [null];
      return recipients.map((recipient) => toRow(report, dsn, recipient));
    });
