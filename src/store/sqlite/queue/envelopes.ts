/** Messages and envelopes of queue.db: leases, outcomes, lists, and what operators do to them. */
import {
  type Envelope,
  type EnvelopeSelection,
  type EnvelopeState,
  isFinal,
  type LastReply,
  type QueueMessage,
} from "../../../model/queue.ts";
import type { AttemptRecord, NewMessage, QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import { changeEnvelopes } from "./change.ts";
import { Conditions, pageOf } from "./select.ts";
import type { SuppressionWrites } from "./suppressions.ts";
import type { QueueTransaction } from "./transaction.ts";

/** Attempts of an envelope that are kept. */
const KEPT_ATTEMPTS = 20;

/** The conditions of the indexes `envelope_active` and `envelope_undone`, literally. */
const ACTIVE = "envelope.state IN ('pending', 'inflight', 'held')";
const UNDONE = "envelope.state IN ('failed', 'expired', 'removed')";

/** States that a bounce makes `failed`; an attempt in flight is settled by its own outcome. */
const BOUNCE_FAILS: ReadonlySet<EnvelopeState> = new Set(["delivered", "pending", "held"]);

const COLUMNS = `envelope.id, envelope.message, kind, outgoing_id, policy_domain, sender, rcpt, transport, destination,
  state, attempts, envelope.created_at, next_at, expires_at, last, size`;

interface EnvelopeRow {
  readonly id: string;
  readonly message: string;
  readonly kind: Envelope["kind"];
  readonly outgoing_id: string;
  readonly policy_domain: string;
  readonly sender: string;
  readonly rcpt: string;
  readonly transport: Envelope["transport"];
  readonly destination: string;
  readonly state: EnvelopeState;
  readonly attempts: number;
  readonly created_at: number;
  readonly next_at: number;
  readonly expires_at: number;
  readonly last: string | null;
  readonly size: number;
}

interface MessageRow {
  readonly id: string;
  readonly kind: QueueMessage["kind"];
  readonly outgoing_id: string;
  readonly policy_domain: string;
  readonly report_id: string;
  readonly message_id: string;
  readonly file_name: string;
  readonly sender: string;
  readonly size: number;
  readonly created_at: number;
}

export type EnvelopePart = Pick<
  QueueStore,
  | "nextEnvelopeDue"
  | "leaseEnvelopes"
  | "recoverInflight"
  | "releaseEnvelopes"
  | "settle"
  | "message"
  | "rawMessage"
  | "envelope"
  | "envelopesOf"
  | "attempts"
  | "noteBounce"
  | "listEnvelopes"
  | "countEnvelopes"
  | "scheduleEnvelopes"
  | "holdEnvelopes"
  | "removeEnvelopes"
  | "undeleteEnvelopes"
  | "requeueEnvelopes"
  | "prune"
> & {
  /** Within a transaction: one message with its envelopes. */
  insertMessage(message: NewMessage, now: number): void;
};

export function makeEnvelopes(
  database: Sqlite,
  transaction: QueueTransaction,
  suppressions: SuppressionWrites,
): EnvelopePart {
  const sql = prepare(database);
  const { counters, moved } = transaction;

  /** Adds an entry to an envelope's history and deletes the oldest ones above the limit. */
  function record(id: string, result: string, durationMs: number, reply: string): void {
    const n = (sql.lastAttempt.get(id) ?? 0) + 1;
    sql.addAttempt.run(id, n, result, Math.round(durationMs), reply);
    sql.dropAttempts.run(id, n - KEPT_ATTEMPTS);
  }

  return {
    insertMessage({ message, raw, envelopes }, now) {
      sql.insertMessage.run(message);
      if (raw !== null) sql.insertRaw.run(message.id, raw);
      else if (sql.stagedSize.get(message.id) !== message.size)
        throw new TypeError(`${message.id}: not all of it was staged`);
      counters.add("queue.message", 1);
      for (const each of envelopes) {
        sql.insertEnvelope.run({ ...each, message: message.id, now });
        counters.add("queue.envelope.pending", 1);
      }
    },
    nextEnvelopeDue(skip) {
      const due = skip?.size ? sql.nextDueBut.get(JSON.stringify([...skip])) : sql.nextDue.get();
      return due ?? undefined;
    },
    leaseEnvelopes: (now, limit, skip) =>
      transaction.run(() => {
        const rows =
          skip.size > 0 ? sql.dueBut.all(now, JSON.stringify([...skip]), limit) : sql.due.all(now, limit);
        for (const { id } of rows) {
          sql.lease.run(id);
          moved("pending", "inflight");
        }
        return rows.map((row) => envelopeOf({ ...row, state: "inflight", attempts: row.attempts + 1 }));
      }),
    recoverInflight: (now) =>
      transaction.run(() => {
        const { changes } = sql.recover.run(now);
        moved("inflight", "pending", changes);
        return changes;
      }),
    releaseEnvelopes: (ids) =>
      transaction.run(() => {
        for (const id of ids) if (sql.release.run(id).changes === 1) moved("inflight", "pending");
      }),
    settle: (id, { result, reply, durationMs }, next, now) =>
      transaction.run(() => {
        const row = sql.one.get(id);
        if (row?.state !== "inflight") return false;
        const last = JSON.stringify(reply);
        const settledAt = isFinal(next.state) ? now : null;
        sql.settle.run({ id, state: next.state, nextAt: next.nextAt, settledAt, last });
        record(id, result, durationMs, last);
        moved(row.state, next.state);
        if (next.state === "delivered") suppressions.clearAutomatic(row.rcpt);
        if (next.suppress) suppressions.add(next.suppress);
        return true;
      }),
    noteBounce: (id, { result, reply, durationMs }, now, suppress) =>
      transaction.run(() => {
        const row = sql.one.get(id);
        if (!row) return;
        const last = JSON.stringify(reply);
        const fails = result === "permanent" && BOUNCE_FAILS.has(row.state);
        const state = fails ? "failed" : row.state;
        sql.bounced.run({ id, state, last, settledAt: fails ? now : null });
        record(id, result, durationMs, last);
        moved(row.state, state);
        if (suppress) suppressions.add(suppress);
      }),
    message(id) {
      const row = sql.message.get(id);
      return row && messageOf(row);
    },
    rawMessage(id) {
      const whole = sql.raw.get(id);
      if (whole) return whole;
      const slices = sql.slices.all(id);
      return slices.length > 0 ? Buffer.concat(slices) : undefined;
    },
    envelope(id) {
      const row = sql.one.get(id);
      return row && envelopeOf(row);
    },
    envelopesOf: (messageId) => sql.ofMessage.all(messageId).map(envelopeOf),
    attempts: (envelopeId) => sql.attempts.all(envelopeId).map(attemptOf),
    listEnvelopes(selection, page) {
      const where = conditionsOf(selection, "active");
      if (page.after !== undefined) where.add("envelope.id > ?", page.after);
      const rows = database
        .prepare(
          `SELECT ${COLUMNS} FROM envelope JOIN message ON message.id = message ${where} ORDER BY envelope.id LIMIT ?`,
        )
        .all(...where.values, page.limit + 1) as EnvelopeRow[];
      return pageOf(rows, page.limit, (row) => row.id, envelopeOf);
    },
    countEnvelopes(selection) {
      const where = conditionsOf(selection, "active");
      return database
        .prepare(`SELECT count(*) FROM envelope JOIN message ON message.id = message ${where}`)
        .pluck()
        .get(...where.values) as number;
    },
    ...changeEnvelopes(database, transaction, conditionsOf),
    prune: (before, limit) =>
      transaction.run(() => {
        const old = sql.settledBefore.all(before, limit);
        for (const { id, message } of old) {
          sql.deleteEnvelope.run(id);
          if (sql.deleteMessage.run(message).changes === 1) counters.add("queue.message", -1);
        }
        return old.length;
      }),
  };
}

/**
 * A selection as conditions on envelope and message.
 * @param defaults states where the selection names none; null for all
 */
function conditionsOf(selection: EnvelopeSelection, defaults: "active" | "undone" | null): Conditions {
  const where = new Conditions();
  if (selection.states) where.oneOf("envelope.state", selection.states);
  else if (defaults === "active") where.add(ACTIVE);
  else if (defaults === "undone") where.add(UNDONE);
  if (selection.ids) {
    const ids = JSON.stringify(selection.ids);
    where.add(
      "(envelope.id IN (SELECT value FROM json_each(?)) OR envelope.message IN (SELECT value FROM json_each(?)))",
      ids,
      ids,
    );
  }
  if (selection.kind) where.add("message.kind = ?", selection.kind);
  if (selection.domain) where.domain("policy_domain", selection.domain);
  if (selection.rcpt) address(where, "rcpt", selection.rcpt);
  if (selection.destination) where.add("destination = ?", selection.destination);
  if (selection.sender) address(where, "sender", selection.sender);
  if (selection.error) {
    where.add("instr(lower(json_extract(last, '$.text')), ?) > 0", selection.error.toLowerCase());
  }
  if (selection.dueBefore !== undefined) where.add("next_at < ?", selection.dueBefore);
  if (selection.dueAfter !== undefined) where.add("next_at > ?", selection.dueAfter);
  return where;
}

/** An address, compared without case, or `@domain`. */
function address(where: Conditions, column: string, text: string): void {
  if (text.startsWith("@")) where.endsWith(column, text);
  else where.add(`lower(${column}) = ?`, text.toLowerCase());
}

function prepare(database: Sqlite) {
  const select = `SELECT ${COLUMNS} FROM envelope JOIN message ON message.id = message`;
  const due = `${select} WHERE state = 'pending' AND next_at <= ?`;
  const but = "destination NOT IN (SELECT value FROM json_each(?))";
  const nextDue = "SELECT next_at FROM envelope WHERE state = 'pending'";
  return {
    insertMessage: database.prepare(
      `INSERT INTO message (id, kind, outgoing_id, policy_domain, report_id, message_id, file_name, sender, size, created_at)
       VALUES (@id, @kind, @outgoingId, @policyDomain, @reportId, @messageId, @fileName, @sender, @size, @createdAt)`,
    ),
    insertRaw: database.prepare("INSERT INTO raw (message, body) VALUES (?, ?)"),
    insertEnvelope: database.prepare(
      `INSERT INTO envelope (id, message, rcpt, transport, destination, state, created_at, next_at, expires_at)
       VALUES (@id, @message, @rcpt, @transport, @destination, 'pending', @now, @nextAt, @expiresAt)`,
    ),
    nextDue: database.prepare<[], number>(`${nextDue} ORDER BY next_at LIMIT 1`).pluck(),
    nextDueBut: database.prepare<[string], number>(`${nextDue} AND ${but} ORDER BY next_at LIMIT 1`).pluck(),
    due: database.prepare<[number, number], EnvelopeRow>(`${due} ORDER BY next_at LIMIT ?`),
    dueBut: database.prepare<[number, string, number], EnvelopeRow>(
      `${due} AND ${but} ORDER BY next_at LIMIT ?`,
    ),
    lease: database.prepare("UPDATE envelope SET state = 'inflight', attempts = attempts + 1 WHERE id = ?"),
    recover: database.prepare(
      "UPDATE envelope SET state = 'pending', next_at = min(next_at, ?) WHERE state = 'inflight'",
    ),
    release: database.prepare(
      "UPDATE envelope SET state = 'pending', attempts = max(0, attempts - 1) WHERE id = ? AND state = 'inflight'",
    ),
    bounced: database.prepare(
      "UPDATE envelope SET state = @state, last = @last, settled_at = ifnull(@settledAt, settled_at) WHERE id = @id",
    ),
    settle: database.prepare(
      `UPDATE envelope SET state = @state, next_at = @nextAt, settled_at = @settledAt, last = @last
       WHERE id = @id AND state = 'inflight'`,
    ),
    lastAttempt: database.prepare<[string], number>("SELECT max(n) FROM attempt WHERE envelope = ?").pluck(),
    addAttempt: database.prepare(
      "INSERT INTO attempt (envelope, n, result, duration_ms, reply) VALUES (?, ?, ?, ?, ?)",
    ),
    dropAttempts: database.prepare("DELETE FROM attempt WHERE envelope = ? AND n <= ?"),
    attempts: database.prepare<[string], { result: string; duration_ms: number; reply: string }>(
      "SELECT result, duration_ms, reply FROM attempt WHERE envelope = ? ORDER BY n",
    ),
    message: database.prepare<[string], MessageRow>("SELECT * FROM message WHERE id = ?"),
    raw: database.prepare<[string], Buffer>("SELECT body FROM raw WHERE message = ?").pluck(),
    slices: database
      .prepare<[string], Buffer>("SELECT body FROM raw_slice WHERE message = ? ORDER BY part")
      .pluck(),
    stagedSize: database
      .prepare<[string], number | null>("SELECT sum(length(body)) FROM raw_slice WHERE message = ?")
      .pluck(),
    one: database.prepare<[string], EnvelopeRow>(`${select} WHERE envelope.id = ?`),
    ofMessage: database.prepare<[string], EnvelopeRow>(`${select} WHERE message = ? ORDER BY envelope.id`),
    settledBefore: database.prepare<[number, number], { id: string; message: string }>(
      "SELECT id, message FROM envelope WHERE settled_at < ? ORDER BY settled_at LIMIT ?",
    ),
    deleteEnvelope: database.prepare("DELETE FROM envelope WHERE id = ?"),
    deleteMessage: database.prepare(
      "DELETE FROM message WHERE id = ? AND NOT EXISTS (SELECT 1 FROM envelope WHERE message = message.id)",
    ),
  };
}

function envelopeOf(row: EnvelopeRow): Envelope {
  return {
    id: row.id,
    messageId: row.message,
    kind: row.kind,
    outgoingId: row.outgoing_id,
    policyDomain: row.policy_domain,
    sender: row.sender,
    rcpt: row.rcpt,
    transport: row.transport,
    destination: row.destination,
    state: row.state,
    attempts: row.attempts,
    createdAt: row.created_at,
    nextAt: row.next_at,
    expiresAt: row.expires_at,
    last: row.last === null ? null : (JSON.parse(row.last) as LastReply),
    size: row.size,
  };
}

function messageOf(row: MessageRow): QueueMessage {
  return {
    id: row.id,
    kind: row.kind,
    outgoingId: row.outgoing_id,
    policyDomain: row.policy_domain,
    reportId: row.report_id,
    messageId: row.message_id,
    fileName: row.file_name,
    sender: row.sender,
    size: row.size,
    createdAt: row.created_at,
  };
}

function attemptOf(row: { result: string; duration_ms: number; reply: string }): AttemptRecord {
  const reply = JSON.parse(row.reply) as LastReply;
  return { ...reply, result: row.result as AttemptRecord["result"], durationMs: row.duration_ms };
}
