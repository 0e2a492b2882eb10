/**
 * What happens when a report has too many different rows: details are left out of the rarest rows first, step by
 * step, so that more of them become equal. The sum of all counts never changes.
 */
import { dmarcRowText, tlsDetailText } from "./canonical.ts";
import type { DmarcRow, TlsDetailRow } from "./evaluation.ts";

export interface Counted<T> {
  readonly row: T;
  readonly count: number;
}

export interface Merged<T> {
  readonly rows: readonly Counted<T>[];
  /** Even the coarsest rows are too many: what comes from now on is to be counted as coarse. */
  readonly exhausted: boolean;
}

/** The steps of leaving out; each includes those before it. */
export const COARSEST = 4;

/** Share of the rows, the rarest first, that lose details. */
const SHARES = [0.5, 0.8, 0.95, 1];

const NOTE = { type: "other", comment: "details merged" } as const;

/**
 * The row with less detail: 1 no envelope_to, 2 no envelope_from, 3 only passing signatures of the author domain's
 * own tree, 4 only source address, results and author domain.
 */
export function coarserDmarc(row: DmarcRow, step: number): DmarcRow {
  if (step === 0) return row;
  const noted = row.reasons.some((reason) => reason.comment === NOTE.comment);
  const spf = step >= 4 ? row.spf && { ...row.spf, humanResult: null } : row.spf;
  return {
    ...row,
    envelopeTo: null,
    envelopeFrom: step >= 2 ? null : row.envelopeFrom,
    dkim: step >= 4 ? row.dkim.slice(0, 1).map(withoutText) : step >= 3 ? aligned(row) : row.dkim,
    spf,
    reasons: step >= 4 ? [...overriding(row), NOTE] : noted ? row.reasons : [...row.reasons, NOTE],
  };
}

/** The signatures that can have made the row pass; the first one where none did. */
function aligned(row: DmarcRow): DmarcRow["dkim"] {
  const passing = row.dkim.filter(
    (each) => each.result === "pass" && (related(each.domain, row.headerFrom) || row.dkimAligned),
  );
  return (passing.length > 0 ? passing : row.dkim).slice(0, 1);
}

function related(a: string, b: string): boolean {
  return a === b || a.endsWith(`.${b}`) || b.endsWith(`.${a}`);
}

function withoutText(result: DmarcRow["dkim"][number]): DmarcRow["dkim"][number] {
  return { ...result, humanResult: null };
}

/** Reasons are needed where the disposition is not the policy's (RFC 9990 3.1.1.9), but their comments are not. */
function overriding(row: DmarcRow): DmarcRow["reasons"] {
  const types = new Set(row.reasons.filter((reason) => reason.comment !== NOTE.comment).map((r) => r.type));
  return [...types].sort().map((type) => ({ type, comment: null }));
}

/** The detail with less in it: 1 no free text and code, 2 no addresses, 3 no HELO, 4 only the result type. */
export function coarserTls(detail: TlsDetailRow, step: number): TlsDetailRow {
  if (step === 0) return detail;
  return {
    resultType: detail.resultType,
    sendingMtaIp: step >= 2 ? null : detail.sendingMtaIp,
    receivingMxHostname: step >= 4 ? null : detail.receivingMxHostname,
    receivingMxHelo: step >= 3 ? null : detail.receivingMxHelo,
    receivingIp: step >= 2 ? null : detail.receivingIp,
    additionalInformation: null,
    failureReasonCode: null,
  };
}

/** Brings DMARC rows down to `target`, or as near as the steps lead. */
export function mergeDmarc(rows: readonly Counted<DmarcRow>[], target: number): Merged<DmarcRow> {
  return merge(rows, target, dmarcRowText, coarserDmarc);
}

/** The same for the failure details of one TLS policy. */
export function mergeTls(rows: readonly Counted<TlsDetailRow>[], target: number): Merged<TlsDetailRow> {
  return merge(rows, target, tlsDetailText, coarserTls);
}

function merge<T>(
  rows: readonly Counted<T>[],
  target: number,
  textOf: (row: T) => string,
  coarser: (row: T, step: number) => T,
): Merged<T> {
  if (rows.length <= target) return { rows, exhausted: false };
  const sorted = rows
    .map((each) => ({ ...each, text: textOf(each.row) }))
    .sort((a, b) => a.count - b.count || (a.text < b.text ? -1 : 1));
  const leaveOut = (cut: number, step: number): Counted<T>[] => {
    const combined = new Map<string, { row: T; count: number }>();
    for (const [i, each] of sorted.entries()) {
      const row = i < cut ? coarser(each.row, step) : each.row;
      const text = i < cut ? textOf(row) : each.text;
      const same = combined.get(text);
      if (same) same.count += each.count;
      else combined.set(text, { row, count: each.count });
    }
    return [...combined.values()];
  };
  let coarsest: Counted<T>[] = [];
  for (const share of SHARES) {
    const cut = Math.ceil(sorted.length * share);
    // when even the last step does not lead there, more rows must lose details
    coarsest = leaveOut(cut, COARSEST);
    if (coarsest.length > target) continue;
    for (let step = 1; step < COARSEST; step++) {
      const merged = leaveOut(cut, step);
      if (merged.length <= target) return { rows: merged, exhausted: false };
    }
    return { rows: coarsest, exhausted: false };
  }
  return { rows: coarsest, exhausted: true };
}
