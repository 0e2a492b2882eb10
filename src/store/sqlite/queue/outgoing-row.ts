/** An outgoing report as it is stored, and as the rest of the program sees it. */
import type { DropReason, OutgoingKind, OutgoingReport, OutgoingState } from "../../../model/outgoing.ts";

export interface OutgoingRow {
  readonly no: number;
  readonly id: string;
  readonly kind: OutgoingKind;
  readonly domain: string;
  readonly policy_hash: string;
  readonly begin: number;
  readonly end: number;
  readonly due: number;
  readonly state: OutgoingState;
  readonly closed: number;
  readonly drop_reason: DropReason | null;
  readonly resolve_attempts: number;
  readonly failures: number;
  readonly last_error: string | null;
  readonly full_end: number | null;
  readonly full_due: number | null;
  readonly tallies_kept: number;
  readonly rows: number;
  readonly messages: number;
  readonly reportable: number;
  readonly wanted: number;
  readonly late_events: number;
  readonly merge_step: number;
  readonly created_at: number;
  readonly settled_at: number | null;
  readonly message_ids: string;
}

/** Values of `tallies_kept`. */
export const GONE = 0;
export const KEPT = 1;
export const BEING_DELETED = 2;

export const SELECT = "SELECT * FROM outgoing JOIN outgoing_sum ON outgoing = no";

export function reportOf(row: OutgoingRow): OutgoingReport {
  return {
    id: row.id,
    kind: row.kind,
    policyDomain: row.domain,
    policyHash: row.policy_hash,
    begin: row.begin,
    end: row.end,
    due: row.due,
    state: row.state,
    closed: row.closed === 1,
    restorable: row.state === "dropped" && row.tallies_kept === KEPT,
    dropReason: row.drop_reason,
    resolveAttempts: row.resolve_attempts,
    failures: row.failures,
    lastError: row.last_error,
    rows: row.rows,
    messages: row.messages,
    reportable: row.reportable,
    wanted: row.wanted,
    lateEvents: row.late_events,
    createdAt: row.created_at,
    composedAt: row.state === "composed" ? row.settled_at : null,
    droppedAt: row.state === "dropped" ? row.settled_at : null,
    messageIds: JSON.parse(row.message_ids) as string[],
  };
}
