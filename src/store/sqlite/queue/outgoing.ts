/** The outgoing reports of queue.db: states, due times, and the step from tallies to messages. */
import { MailreportError } from "../../../lib/errors.ts";
import { dmarcRowOf, tlsDetailOf, tlsPolicyOf } from "../../../model/canonical.ts";
import type {
  DropReason,
  OutgoingKind,
  OutgoingPolicy,
  OutgoingReport,
  OutgoingState,
  TallyRow,
} from "../../../model/outgoing.ts";
import type { NewMessage, OutgoingSelection, Page, Paged, QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import { Conditions, pageOf } from "./select.ts";
import type { QueueTransaction } from "./transaction.ts";

interface OutgoingRow {
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
  readonly last_error: string | null;
  readonly rows: number;
  readonly messages: number;
  readonly reportable: number;
  readonly wanted: number;
  readonly late_events: number;
  readonly created_at: number;
  readonly settled_at: number | null;
  readonly message_ids: string;
}

const SELECT = "SELECT * FROM outgoing JOIN outgoing_sum ON outgoing = no";

/** Keys whose last closed end is remembered. */
const CLOSED_KEYS = 50_000;
const LONGEST_ERROR = 500;

export type OutgoingPart = Pick<
  QueueStore,
  | "closedUntil"
  | "nextOutgoingDue"
  | "dueOutgoing"
  | "outgoing"
  | "findOutgoing"
  | "listOutgoing"
  | "outgoingPolicy"
  | "tallies"
  | "closeOutgoing"
  | "deferOutgoing"
  | "setOutgoingDue"
  | "holdOutgoing"
  | "dropOutgoing"
  | "compose"
  | "pruneOutgoing"
>;

/**
 * @param changed called with the id of a report that counts no more
 * @param insertMessage puts one message and its envelopes in, within the transaction of `compose`
 */
export function makeOutgoing(
  database: Sqlite,
  transaction: QueueTransaction,
  changed: (id: string) => void,
  insertMessage: (message: NewMessage, now: number) => void,
): OutgoingPart {
  const { counters } = transaction;
  const one = database.prepare<[string], OutgoingRow>(`${SELECT} WHERE id = ?`);
  const nextDue = database
    .prepare<[], number | null>("SELECT min(due) FROM outgoing WHERE state = 'open'")
    .pluck();
  const due = database.prepare<[number, number], OutgoingRow>(
    `${SELECT} WHERE state = 'open' AND due <= ? ORDER BY due LIMIT ?`,
  );
  const lastClosed = database
    .prepare<[number, string, string, string, number, number], number | null>(
      `SELECT min(max(end), ?) FROM outgoing
       WHERE kind = ? AND domain = ? AND policy_hash = ? AND end >= ? AND begin <= ? AND closed = 1`,
    )
    .pluck();
  const cut = database.prepare("UPDATE outgoing SET end = ?, due = ?, closed = 1 WHERE id = ?");
  const defer = database.prepare(
    "UPDATE outgoing SET due = ?, last_error = ?, resolve_attempts = resolve_attempts + 1 WHERE id = ? AND state = 'open'",
  );
  const setDue = database.prepare("UPDATE outgoing SET due = ? WHERE id = ? AND state = 'open'");
  const setState = database.prepare("UPDATE outgoing SET state = ? WHERE id = ? AND state = ?");
  const settle = database.prepare(
    `UPDATE outgoing SET state = @state, closed = 1, drop_reason = @reason, last_error = @note, settled_at = @now,
       message_ids = @messageIds WHERE no = @no`,
  );
  const policy = database.prepare<[string], string>("SELECT policy FROM outgoing WHERE id = ?").pluck();
  const tallies = makeTallies(database);
  const settledBefore = database
    .prepare<[number, number], number>("SELECT no FROM outgoing WHERE settled_at < ? LIMIT ?")
    .pluck();
  const remove = database.prepare("DELETE FROM outgoing WHERE no = ?");

  const closedEnds = new Map<string, number | undefined>();
  transaction.onRollback(() => closedEnds.clear());

  function closes(row: OutgoingRow): void {
    closedEnds.clear();
    changed(row.id);
  }

  /** Takes the tallies out and makes the state final. */
  function end(
    row: OutgoingRow,
    state: "composed" | "dropped",
    reason: DropReason | null,
    now: number,
    note: string | null,
    messageIds: readonly string[],
  ): void {
    tallies.remove(row.no);
    const shortened = note?.slice(0, LONGEST_ERROR) ?? row.last_error;
    settle.run({ no: row.no, state, reason, now, note: shortened, messageIds: JSON.stringify(messageIds) });
    counters.add(`outgoing.${row.state}`, -1);
    counters.add(`outgoing.${state}`, 1);
    counters.add("outgoing.tally", -row.rows);
    counters.add("outgoing.message", -row.messages);
    counters.add(`outgoing.message.${state}`, row.messages);
    if (reason) counters.add(`outgoing.dropped.${reason}`, 1);
    closes(row);
  }

  /** A report that is still ours to change. */
  function waiting(id: string): OutgoingRow {
    const row = one.get(id);
    if (!row) throw new MailreportError("outgoing.no_such_report", { detail: id });
    if (row.state !== "open" && row.state !== "held") {
      throw new MailreportError("outgoing.not_open", { detail: `${id} is ${row.state}` });
    }
    return row;
  }

  return {
    closedUntil(kind, domain, hash, begin, endSecond) {
      const key = `${kind}!${domain}!${hash}!${begin}!${endSecond}`;
      if (closedEnds.has(key)) return closedEnds.get(key);
      if (closedEnds.size >= CLOSED_KEYS) closedEnds.clear();
      const found = lastClosed.get(endSecond, kind, domain, hash, begin, endSecond) ?? undefined;
      closedEnds.set(key, found);
      return found;
    },
    nextOutgoingDue: () => nextDue.get() ?? undefined,
    dueOutgoing: (now, limit) => due.all(now, limit).map(reportOf),
    outgoing(id) {
      const row = one.get(id);
      return row && reportOf(row);
    },
    findOutgoing(kind, domain, hash, begin) {
      const where = new Conditions().add("kind = ?", kind).add("domain = ?", domain);
      if (hash !== null) where.add("policy_hash = ?", hash);
      if (begin !== null) where.add("begin = ?", begin);
      const rows = database
        .prepare(`${SELECT} ${where} ORDER BY begin DESC, no DESC LIMIT 1000`)
        .all(...where.values) as OutgoingRow[];
      return rows.map(reportOf);
    },
    listOutgoing: (selection, page) => list(database, selection, page),
    outgoingPolicy(id) {
      const text = policy.get(id);
      return text === undefined ? undefined : (JSON.parse(text) as OutgoingPolicy);
    },
    tallies(id) {
      const row = one.get(id);
      return row ? tallies.read(row.no, row.kind) : [];
    },
    closeOutgoing(id, endSecond, dueSecond) {
      return transaction.run(() => {
        const row = waiting(id);
        cut.run(Math.max(row.begin, Math.min(row.end, endSecond)), dueSecond, id);
        closes(row);
        return reportOf(one.get(id)!);
      });
    },
    deferOutgoing: (id, dueSecond, error) =>
      transaction.run(() => void defer.run(dueSecond, error.slice(0, LONGEST_ERROR), id)),
    setOutgoingDue: (id, dueSecond) => transaction.run(() => setDue.run(dueSecond, id).changes === 1),
    holdOutgoing: (id, held) =>
      transaction.run(() => {
        const [from, to] = held ? (["open", "held"] as const) : (["held", "open"] as const);
        if (setState.run(to, id, from).changes === 0) return false;
        counters.add(`outgoing.${from}`, -1);
        counters.add(`outgoing.${to}`, 1);
        return true;
      }),
    dropOutgoing: (id, reason, now) =>
      transaction.run(() => {
        end(waiting(id), "dropped", reason, now, null, []);
      }),
    compose: (id, messages, now, note) =>
      transaction.run(() => {
        const row = waiting(id);
        for (const message of messages) insertMessage(message, now);
        end(
          row,
          "composed",
          null,
          now,
          note,
          messages.map(({ message }) => message.id),
        );
      }),
    pruneOutgoing: (before, limit) =>
      transaction.run(() => {
        const old = settledBefore.all(before, limit);
        for (const no of old) remove.run(no);
        if (old.length > 0) closedEnds.clear();
        return old.length;
      }),
  };
}

function makeTallies(database: Sqlite) {
  const dmarc = database.prepare<[number], { row: string; count: number }>(
    "SELECT row, count FROM tally JOIN tally_count ON tally = no WHERE outgoing = ? ORDER BY row",
  );
  const tls = database.prepare<[number], { key: Buffer; row: string; success: number; failure: number }>(
    "SELECT key, row, success, failure FROM tls_tally WHERE outgoing = ? ORDER BY row",
  );
  const details = database.prepare<[number, Buffer], { row: string; count: number }>(
    "SELECT row, count FROM tls_detail WHERE outgoing = ? AND policy = ? ORDER BY row",
  );
  const removals = [
    "DELETE FROM tally_count WHERE tally IN (SELECT no FROM tally WHERE outgoing = ?)",
    "DELETE FROM tally WHERE outgoing = ?",
    "DELETE FROM tls_tally WHERE outgoing = ?",
    "DELETE FROM tls_detail WHERE outgoing = ?",
  ].map((text) => database.prepare(text));
  return {
    read(no: number, kind: OutgoingKind): TallyRow[] {
      if (kind === "dmarc") {
        return dmarc.all(no).map(({ row, count }) => ({ kind: "dmarc", row: dmarcRowOf(row), count }));
      }
      return tls.all(no).map(({ key, row, success, failure }) => ({
        kind: "tls",
        policy: tlsPolicyOf(row),
        success,
        failure,
        details: details.all(no, key).map((each) => ({ detail: tlsDetailOf(each.row), count: each.count })),
      }));
    },
    remove(no: number): void {
      for (const statement of removals) statement.run(no);
    },
  };
}

function list(database: Sqlite, selection: OutgoingSelection, page: Page): Paged<OutgoingReport> {
  const where = new Conditions();
  if (selection.ids) where.add("id IN (SELECT value FROM json_each(?))", JSON.stringify(selection.ids));
  if (selection.kind) where.add("kind = ?", selection.kind);
  if (selection.domain) where.domain("domain", selection.domain);
  if (selection.states) where.oneOf("state", selection.states);
  if (page.after !== undefined) where.add("no > ?", Number(page.after));
  const rows = database
    .prepare(`${SELECT} ${where} ORDER BY no LIMIT ?`)
    .all(...where.values, page.limit + 1) as OutgoingRow[];
  return pageOf(rows, page.limit, (row) => String(row.no), reportOf);
}

function reportOf(row: OutgoingRow): OutgoingReport {
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
    dropReason: row.drop_reason,
    resolveAttempts: row.resolve_attempts,
    lastError: row.last_error,
    rows: row.rows,
    messages: row.messages,
    reportable: row.reportable,
    wanted: row.wanted,
    lateEvents: row.late_events,
    createdAt: row.created_at,
    composedAt: row.state === "composed" ? row.settled_at : null,
    messageIds: JSON.parse(row.message_ids) as string[],
  };
}
