/**
 * The canonical text of counted rows, defined once: equal rows have equal text, whatever order their members were
 * written in. It is what the tallies are keyed and sorted by, and what is stored.
 */
import type { DmarcRow, TlsDetailRow, TlsPolicyRow } from "./evaluation.ts";

type Stored = [
  string,
  DmarcRow["disposition"],
  0 | 1,
  0 | 1,
  [DmarcRow["reasons"][number]["type"], string | null][],
  string,
  string | null,
  string | null,
  [string, string, DmarcRow["dkim"][number]["result"], string | null][],
  [string, NonNullable<DmarcRow["spf"]>["result"], string | null] | null,
];

/** Canonical text of one row of a DMARC report. */
export function dmarcRowText(row: DmarcRow): string {
  const stored: Stored = [
    row.sourceIp,
    row.disposition,
    row.dkimAligned ? 1 : 0,
    row.spfAligned ? 1 : 0,
    row.reasons.map((reason) => [reason.type, reason.comment]),
    row.headerFrom,
    row.envelopeFrom,
    row.envelopeTo,
    row.dkim.map((each) => [each.domain, each.selector, each.result, each.humanResult]),
    row.spf && [row.spf.domain, row.spf.result, row.spf.humanResult],
  ];
  return JSON.stringify(stored);
}

/** The row of a text that `dmarcRowText` made. */
export function dmarcRowOf(text: string): DmarcRow {
  const [ip, disposition, dkimAligned, spfAligned, reasons, headerFrom, from, to, dkim, spf] = JSON.parse(
    text,
  ) as Stored;
  return {
    sourceIp: ip,
    disposition,
    dkimAligned: dkimAligned === 1,
    spfAligned: spfAligned === 1,
    reasons: reasons.map(([type, comment]) => ({ type, comment })),
    headerFrom,
    envelopeFrom: from,
    envelopeTo: to,
    dkim: dkim.map(([domain, selector, result, humanResult]) => ({ domain, selector, result, humanResult })),
    spf: spf && { domain: spf[0], result: spf[1], humanResult: spf[2] },
  };
}

/** Canonical text of one policy of a TLS report. */
export function tlsPolicyText(policy: TlsPolicyRow): string {
  return JSON.stringify([policy.type, policy.domain, policy.strings, policy.mxHosts]);
}

export function tlsPolicyOf(text: string): TlsPolicyRow {
  const [type, domain, strings, mxHosts] = JSON.parse(text) as [
    TlsPolicyRow["type"],
    string,
    string[],
    string[],
  ];
  return { type, domain, strings, mxHosts };
}

/** Canonical text of one failure detail of a TLS report. */
export function tlsDetailText(detail: TlsDetailRow): string {
  return JSON.stringify([
    detail.resultType,
    detail.sendingMtaIp,
    detail.receivingMxHostname,
    detail.receivingMxHelo,
    detail.receivingIp,
    detail.additionalInformation,
    detail.failureReasonCode,
  ]);
}

export function tlsDetailOf(text: string): TlsDetailRow {
  const [resultType, sendingMtaIp, mx, helo, receivingIp, additionalInformation, failureReasonCode] =
    JSON.parse(text) as [TlsDetailRow["resultType"], ...(string | null)[]];
  return {
    resultType,
    sendingMtaIp: sendingMtaIp ?? null,
    receivingMxHostname: mx ?? null,
    receivingMxHelo: helo ?? null,
    receivingIp: receivingIp ?? null,
    additionalInformation: additionalInformation ?? null,
    failureReasonCode: failureReasonCode ?? null,
  };
}
