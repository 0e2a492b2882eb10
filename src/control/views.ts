/** Objects of the daemon as JSON for people and programs: snake_case, times RFC 3339 in UTC. */
import type { MailreportError } from "../lib/errors.ts";
import { iso } from "../lib/units.ts";
import type { OutgoingReport } from "../model/outgoing.ts";
import type { Envelope, QueueMessage, Suppression } from "../model/queue.ts";
import { wireReports } from "../model/wire-report.ts";
import type { IntakeResult } from "../store/archive/intake.ts";
import type {
  DayFigures,
  DeliveryRow,
  DomainSummary,
  FeedbackRow,
  ReceivedMail,
  ReceivedReport,
  ReporterSummary,
  SourceSummary,
  StoredRecord,
  TlsRow,
} from "../store/archive/reader.ts";
import type { AttemptRecord } from "../store/queue.ts";
import type { WireItem } from "./wire.ts";

const time = (seconds: number | null): string | null => (seconds === null ? null : iso(seconds));

export const envelopeView = (e: Envelope) => ({
  id: e.id,
  message_id: e.messageId,
  report_id: e.outgoingId,
  kind: e.kind,
  domain: e.policyDomain,
  agent: e.transport === "smtp" ? "mta" : "https",
  sender: e.sender,
  rcpt: e.rcpt,
  destination: e.destination,
  state: e.state,
  flags: e.state === "held" ? ["hold"] : [],
  created_at: iso(e.createdAt),
  next_at: iso(e.nextAt),
  expires_at: iso(e.expiresAt),
  last_at: e.last === null ? null : iso(e.last.at),
  attempts: e.attempts,
  last:
    e.last === null
      ? null
      : {
          code: e.last.code,
          enhanced: e.last.enhanced,
          text: e.last.text,
          mx: e.last.host,
          ip: e.last.ip,
          tls: e.last.tls,
        },
  size: e.size,
});

/** A queued message, in the vocabulary of its envelopes: `report_id` is the id of the outgoing report. */
export const messageView = (m: QueueMessage) => ({
  id: m.id,
  report_id: m.outgoingId,
  kind: m.kind,
  domain: m.policyDomain,
  sender: m.sender,
  created_at: iso(m.createdAt),
  size: m.size,
  mail_message_id: m.messageId,
  mail_report_id: m.reportId,
  file_name: m.fileName,
});

/** One attempt to deliver an envelope. */
export const attemptView = (a: AttemptRecord) => ({
  at: iso(a.at),
  result: a.result,
  code: a.code,
  enhanced: a.enhanced,
  text: a.text,
  mx: a.host,
  ip: a.ip,
  tls: a.tls,
  duration_ms: a.durationMs,
});

export const suppressionView = (s: Suppression) => ({
  target: s.target,
  until: time(s.until),
  author: s.author,
  reason: s.reason,
  created_at: iso(s.createdAt),
  step: s.step,
});

export const outgoingView = (r: OutgoingReport) => ({
  id: r.id,
  kind: r.kind,
  domain: r.policyDomain,
  begin: iso(r.begin),
  end: iso(r.end),
  due: iso(r.due),
  state: r.state,
  reason: r.dropReason,
  rows: r.rows,
  messages: r.messages,
  reportable: r.reportable,
  late: r.lateEvents,
  error: r.lastError,
  failures: r.failures,
  restorable: r.restorable,
  created_at: iso(r.createdAt),
  dropped_at: time(r.droppedAt),
  composed_at: time(r.composedAt),
  message_ids: r.messageIds,
});

export const mailView = (m: ReceivedMail) =>
  ({
    id: m.id,
    received_at: iso(m.receivedAt),
    source: m.source,
    envelope_from: m.envelopeFrom,
    envelope_to: m.envelopeTo,
    remote_ip: m.remoteIp,
    from: m.from,
    subject: m.subject,
    message_id: m.messageId,
    file_name: m.fileName,
    size: m.size,
    outcome: m.outcome,
    reason: m.reason,
    detail: m.detail,
    auth: m.auth,
    auth_domain: m.authDomain,
    auth_by: m.authBy,
    auth_detail: m.authDetail,
    reports: m.reports,
    raw_kept: m.rawKept,
  }) satisfies WireItem<"received">;

export const reportView = (r: ReceivedReport) =>
  ({
    id: r.id,
    mail_id: r.mailId,
    kind: r.kind,
    org_name: r.orgName,
    report_id: r.reportId,
    policy_domain: r.policyDomain,
    begin: iso(r.begin),
    end: iso(r.end),
    records: r.records,
    messages: r.messages,
    pass_messages: r.passMessages,
    received_at: iso(r.receivedAt),
    auth: r.auth,
    auth_domain: r.authDomain,
    foreign: r.foreign,
    counted: r.counted,
    warnings: r.warnings,
  }) satisfies WireItem<"reports">;

/** One policy of a TLS report. */
export const tlsView = ({ report, policy, resultTypes }: TlsRow) =>
  ({
    ...reportView(report),
    tls_policy_type: policy?.policyTypeRaw ?? policy?.policyType ?? null,
    tls_policy_domain: policy?.policyDomain ?? null,
    tls_policy_strings: policy?.policyStrings ?? [],
    tls_mx_hosts: policy?.mxHosts ?? [],
    tls_successes: policy?.successes ?? null,
    tls_failures: policy?.failures ?? null,
    tls_result_types: resultTypes.map((r) => ({ result_type: r.resultType, sessions: r.sessions })),
  }) satisfies WireItem<"tls">;

/** A failure or abuse report; of the message that it is about only addresses, subject, Message-ID and date. */
export const failureView = ({ report, feedback: f, sample }: FeedbackRow) =>
  ({
    ...reportView(report),
    feedback_type: f.feedbackTypeRaw ?? f.feedbackType,
    arrival_at: iso(f.arrivalDate),
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
    sample_from: sample?.from ?? null,
    sample_to: sample?.to ?? null,
    sample_subject: sample?.subject ?? null,
    sample_message_id: sample?.messageId ?? null,
    sample_date: sample?.date ?? null,
  }) satisfies WireItem<"failures">;

/** One recipient of a delivery status notification. */
export const deliveryView = ({ report, dsn, recipient: r }: DeliveryRow) =>
  ({
    ...reportView(report),
    arrival_at: iso(dsn.date),
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
    last_attempt_at: time(r?.lastAttempt ?? null),
    will_retry_until: time(r?.willRetryUntil ?? null),
  }) satisfies WireItem<"dsn">;

export const recordView = (r: StoredRecord) =>
  ({
    report: r.reportId,
    auth: r.auth,
    counted: r.counted,
    org_name: r.org,
    policy_domain: r.policyDomain,
    begin: iso(r.begin),
    end: iso(r.end),
    source_ip: r.sourceIp,
    count: r.count,
    disposition: r.disposition,
    dkim: r.dkim,
    spf: r.spf,
    reasons: r.reasons,
    header_from: r.headerFrom,
    envelope_from: r.envelopeFrom,
    envelope_to: r.envelopeTo,
    dkim_results: r.dkimResults,
    spf_results: r.spfResults,
    extensions: r.extensions,
    raw: r.raw,
  }) satisfies WireItem<"records">;

export const domainView = (d: DomainSummary) =>
  ({
    domain: d.domain,
    policy: d.policy,
    messages: d.messages,
    pass: d.pass,
    fail: d.fail,
    unknown: d.unknown,
    reports: d.reports,
    reporters: d.reporters,
    last_report_at: time(d.lastReportAt),
    tls_sessions: d.tlsSessions,
    tls_failures: d.tlsFailures,
  }) satisfies WireItem<"domains">;

export const sourceView = (s: SourceSummary) =>
  ({
    source: s.source,
    messages: s.messages,
    pass: s.pass,
    fail: s.fail,
    unknown: s.unknown,
    dkim_pass: s.dkimPass,
    spf_pass: s.spfPass,
    none: s.none,
    quarantine: s.quarantine,
    reject: s.reject,
    first: iso(s.first),
    last: iso(s.last),
    domains: s.domains,
  }) satisfies WireItem<"sources">;

export const reporterView = (r: ReporterSummary) =>
  ({
    org_name: r.org,
    reports: r.reports,
    repaired: r.repaired,
    messages: r.messages,
    last_at: iso(r.last),
    warnings: r.warnings,
  }) satisfies WireItem<"reporters">;

export const dayView = (d: DayFigures) =>
  ({
    day: iso(d.day).slice(0, 10),
    messages: d.messages,
    pass: d.pass,
    fail: d.fail,
    unknown: d.unknown,
  }) satisfies WireItem<"days">;

/** One file of an import, or one member of a collection, and what became of it. */
export function importView(file: string, member: string | null, result: IntakeResult) {
  const { outcome, reason } = result;
  return {
    file,
    ...(member === null ? {} : { member }),
    outcome,
    reason,
    reports: wireReports(result.items),
    mail: `m${result.mailId}`,
  };
}

/** One file of an import that was not stored: the same members, and the error. */
export function refusedView(file: string, member: string | null, { code, message }: MailreportError) {
  return {
    file,
    ...(member === null ? {} : { member }),
    outcome: null,
    reason: null,
    reports: [],
    mail: null,
    error: { code, message },
  };
}
