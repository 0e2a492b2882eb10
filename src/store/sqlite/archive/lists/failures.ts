/** Failure reports, or abuse reports: of the header of the reported message only From, To, Subject, Message-ID and Date. */
import type { ArchiveRow } from "../../../../model/lists/lists.ts";
import type { FeedbackReport } from "../../../../model/report.ts";
import type { ReceivedReport } from "../../../archive/reader.ts";
import { reportHead } from "../report-detail.ts";
import { rowsOfReports } from "./reports.ts";
import type { ListSource, SourceTools } from "./source.ts";

function toFailure(report: ReceivedReport, f: FeedbackReport): ArchiveRow<"failures"> {
  return {
    ...report,
    feedback_type: f.feedbackTypeRaw ?? f.feedbackType,
    arrival_at: f.arrivalDate,
    source_ip: f.sourceIp,
    incidents: f.incidents,
    auth_failure: f.authFailure,
    identity_alignment: f.identityAlignment,
    delivery_result: f.deliveryResultRaw ?? f.deliveryResult,
    dkim_domain: f.dkimDomain,
    dkim_selector: f.dkimSelector,
    spf_dns: f.spfDns,
    authentication_results: f.authenticationResults,
    reporting_mta: f.reportingMta,
    original_mail_from: f.originalMailFrom,
    original_rcpt_to: f.originalRcptTo,
    reported_uris: f.reportedUris,
    sample_from: f.sample?.from ?? null,
    sample_to: f.sample?.to ?? null,
    sample_subject: f.sample?.subject ?? null,
    sample_message_id: f.sample?.messageId ?? null,
    sample_date: f.sample?.date ?? null,
  };
}

export const makeFailures =
  (tools: SourceTools): ListSource<"failures"> =>
  (filter, page) => {
    const kind = filter.kind === "arf" ? "arf" : "failure";
    return rowsOfReports(tools, { ...filter, kind }, page, (report, id) => [
      toFailure(report, reportHead(tools.ask, id) as FeedbackReport),
    ]);
  };
