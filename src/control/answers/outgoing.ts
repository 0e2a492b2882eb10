/** Answers about outgoing reports. */
import { z } from "zod";
import { errorText } from "../../lib/errors.ts";
import type { DmarcRow, TlsDetailRow, TlsPolicyRow } from "../../model/evaluation.ts";
import { OUTGOING } from "../../model/lists/outgoing.ts";
import { OUTGOING_STATES, type OutgoingPolicy, type TallyRow } from "../../model/outgoing.ts";
import type { OutgoingDetails } from "../../services/outgoing.ts";
import { outgoingView } from "../views.ts";
import { AT, COUNT, listOf } from "./common.ts";
import { objectSchema } from "./lists.ts";

const TEXT = z.string().nullable();

const REPORT = objectSchema(OUTGOING.fields);

const EVALUATED_POLICY = z.strictObject({
  domain: z.string(),
  p: z.string(),
  sp: TEXT,
  np: TEXT,
  adkim: z.string(),
  aspf: z.string(),
  fo: z.string(),
  testing: z.string(),
  psd: z.string(),
  discovery: TEXT,
});

const POLICY = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("dmarc"), policy: EVALUATED_POLICY, rua: listOf(z.string()) }),
  z.strictObject({ kind: z.literal("tls"), record: TEXT }),
]);

const DMARC_ROW = z.strictObject({
  source_ip: z.string(),
  disposition: z.string(),
  dkim_aligned: z.boolean(),
  spf_aligned: z.boolean(),
  reasons: listOf(z.strictObject({ type: z.string(), comment: TEXT })),
  header_from: z.string(),
  envelope_from: TEXT,
  envelope_to: TEXT,
  dkim: listOf(
    z.strictObject({ domain: z.string(), selector: z.string(), result: z.string(), human_result: TEXT }),
  ),
  spf: z.strictObject({ domain: z.string(), result: z.string(), human_result: TEXT }).nullable(),
});

const TLS_POLICY = z.strictObject({
  type: z.string(),
  domain: z.string(),
  strings: listOf(z.string()),
  mx_hosts: listOf(z.string()),
});

const TLS_DETAIL = z.strictObject({
  result_type: z.string(),
  sending_mta_ip: TEXT,
  receiving_mx_hostname: TEXT,
  receiving_mx_helo: TEXT,
  receiving_ip: TEXT,
  additional_information: TEXT,
  failure_reason_code: TEXT,
});

const TALLY = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("dmarc"), row: DMARC_ROW, count: COUNT }),
  z.strictObject({
    kind: z.literal("tls"),
    policy: TLS_POLICY,
    success: COUNT,
    failure: COUNT,
    details: listOf(z.strictObject({ detail: TLS_DETAIL, count: COUNT })),
  }),
]);

export const OUTGOING_DETAILS = z.strictObject({
  ...REPORT.shape,
  policy: POLICY.optional(),
  tallies: listOf(TALLY),
  tallies_total: COUNT.nullable(),
  tallies_error: TEXT,
});

export const EXPLANATION = z.strictObject({
  ...REPORT.shape,
  checks: listOf(z.strictObject({ check: z.string(), ok: z.boolean(), detail: z.string() })),
  verdict: z.string(),
});

export const SENT = z.union([
  z.strictObject({
    sent: z.literal(true),
    dry_run: z.literal(false),
    id: z.string(),
    message_ids: listOf(z.string()),
  }),
  z.strictObject({
    sent: z.literal(false),
    dry_run: z.literal(true),
    id: z.string(),
    end: AT,
    to: listOf(z.string()),
  }),
]);

export const CANCELLED = z.strictObject({
  cancelled: z.boolean(),
  dry_run: z.boolean(),
  id: z.string(),
  messages: COUNT,
});

export const UNDELETED = z.strictObject({
  undeleted: z.boolean(),
  dry_run: z.boolean(),
  id: z.string(),
  state: z.enum(OUTGOING_STATES),
  end: AT,
  due: AT,
  messages: COUNT,
  merged: TEXT,
});

export const REPORT_CHANGED = z.strictObject({ changed: z.boolean(), dry_run: z.boolean() });

/** An outgoing report with its policy and its first tallies; when those cannot be loaded, without them. */
export function outgoingDetailsView({ report, policy, tallies }: OutgoingDetails) {
  return {
    ...outgoingView(report),
    policy: policy && policyView(policy),
    ...(tallies.ok
      ? { tallies: tallies.rows.map(tallyView), tallies_total: tallies.total, tallies_error: null }
      : { tallies: [], tallies_total: null, tallies_error: errorText(tallies.error) }),
  };
}

function policyView(policy: OutgoingPolicy) {
  return policy.kind === "dmarc"
    ? ({ kind: "dmarc", policy: policy.policy, rua: policy.rua } as const)
    : ({ kind: "tls", record: policy.record } as const);
}

function tallyView(tally: TallyRow) {
  if (tally.kind === "dmarc")
    return { kind: "dmarc", row: dmarcRowView(tally.row), count: tally.count } as const;
  const { policy, success, failure } = tally;
  const details = tally.details.map(({ detail, count }) => ({ detail: tlsDetailView(detail), count }));
  return { kind: "tls", policy: tlsPolicyView(policy), success, failure, details } as const;
}

const dmarcRowView = (row: DmarcRow) => ({
  source_ip: row.sourceIp,
  disposition: row.disposition,
  dkim_aligned: row.dkimAligned,
  spf_aligned: row.spfAligned,
  reasons: row.reasons,
  header_from: row.headerFrom,
  envelope_from: row.envelopeFrom,
  envelope_to: row.envelopeTo,
  dkim: row.dkim.map(({ domain, selector, result, humanResult }) => ({
    domain,
    selector,
    result,
    human_result: humanResult,
  })),
  spf: row.spf && { domain: row.spf.domain, result: row.spf.result, human_result: row.spf.humanResult },
});

const tlsPolicyView = ({ type, domain, strings, mxHosts }: TlsPolicyRow) => ({
  type,
  domain,
  strings,
  mx_hosts: mxHosts,
});

const tlsDetailView = (detail: TlsDetailRow) => ({
  result_type: detail.resultType,
  sending_mta_ip: detail.sendingMtaIp,
  receiving_mx_hostname: detail.receivingMxHostname,
  receiving_mx_helo: detail.receivingMxHelo,
  receiving_ip: detail.receivingIp,
  additional_information: detail.additionalInformation,
  failure_reason_code: detail.failureReasonCode,
});
