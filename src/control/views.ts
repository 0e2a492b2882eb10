/** Objects of the daemon as JSON for people and programs: snake_case, times RFC 3339 in UTC. */
import type { MailreportError } from "../lib/errors.ts";
import { iso } from "../lib/units.ts";
import { rowEncoder } from "../model/lists/field.ts";
import { OUTGOING } from "../model/lists/outgoing.ts";
import { QUEUE } from "../model/lists/queue.ts";
import { SUPPRESSIONS } from "../model/lists/suppressions.ts";
import type { OutgoingReport } from "../model/outgoing.ts";
import type { Envelope, QueueMessage, Suppression } from "../model/queue.ts";
import { wireReports } from "../model/wire-report.ts";
import type { IntakeResult } from "../store/archive/intake.ts";
import type { AttemptRecord } from "../store/queue.ts";
import { envelopeRow, outgoingRow, suppressionRow } from "../store/queue-lists.ts";

const envelopeWire = rowEncoder(QUEUE.fields);
const outgoingWire = rowEncoder(OUTGOING.fields);
const suppressionWire = rowEncoder(SUPPRESSIONS.fields);

export const envelopeView = (e: Envelope) => envelopeWire(envelopeRow(e));
export const outgoingView = (r: OutgoingReport) => outgoingWire(outgoingRow(r));
export const suppressionView = (s: Suppression) => suppressionWire(suppressionRow(s));

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
