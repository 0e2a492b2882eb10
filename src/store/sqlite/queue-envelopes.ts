/** Messages and envelopes of the queue. */
import type { AttemptOutcome, ChangeResult, Envelope, EnvelopeSelection, EnvelopeState, LastReply, QueueMessage } from "../../model/queue.ts";
import type { AttemptRecord, NewMessage, Page, Paged } from "../queue.ts";
import type { Sqlite } from "./open.ts";

const KEPT_ATTEMPTS = 20;
const LIVE: readonly EnvelopeState[] = ["pending", "inflight", "held"];
const FINAL = new Set<EnvelopeState>(["delivered", "failed", "expired", "removed"]);

interface EnvelopeRow {
  readonly id: string;
  readonly message: string;
  readonly kind: QueueMessage["kind"];
  readonly outgoing_id: string;
  readonly policy_domain: string;
  readonly sender: string;
  readonly size: number;
  readonly rcpt: string;
  readonly transport: "smtp" | "https";
  readonly destination: string;
  readonly state: EnvelopeState;
  readonly attempts: number;
  readonly created_at: number;
  readonly next_at: number;
  readonly expires_at: number;
  readonly last: string | null;
}

const SELECT = `SELECT envelope.*, kind, outgoing_id, policy_domain, sender, size
  FROM envelope JOIN message ON message.id = envelope.message`;

const toEnvelope = (row: EnvelopeRow): Envelope => ({
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
});

/** A selection as SQL; every given member must match. */
function where(selection: EnvelopeSelection, defaults: readonly EnvelopeState[]): { sql: string; values: unknown[] } {
  const terms: string[] = [];
  const values: unknown[] = [];
  const term = (sql: string, ...more: unknown[]): void => {
    terms.push(sql);
    values.push(...more);
  };
  const list = (items: readonly unknown[]): string => `(${items.map(() => "?").join(", ")})`;
  if (selection.ids) term(`(envelope.id IN ${list(selection.ids)} OR message IN ${list(selection.ids)})`, ...selection.ids, ...selection.ids);
  const states = selection.states ?? defaults;
  if (states.length > 0) term(`state IN ${list(states)}`, ...states);
  if (selection.kind) term("kind = ?", selection.kind);
  if (selection.domain?.startsWith("*.")) term("policy_domain LIKE ? ESCAPE '\\'", `%.${like(selection.domain.slice(2))}`);
  else if (selection.domain) term("policy_domain = ?", selection.domain);
  for (const [column, value] of [["rcpt", selection.rcpt], ["sender", selection.sender]] as const) {
    if (value?.startsWith("@")) term(`${column} LIKE ? ESCAPE '\\'`, `%${like(value)}`);
    else if (value) term(`${column} = ? COLLATE NOCASE`, value);
  }
  if (selection.error) term("json_extract(last, '$.text') LIKE ? ESCAPE '\\'", `%${like(selection.error)}%`);
  if (selection.dueBefore !== undefined) term("next_at < ?", selection.dueBefore);
  if (selection.dueAfter !== undefined) term("next_at > ?", selection.dueAfter);
  return { sql: terms.length > 0 ? terms.join(" AND ") : "1", values };
}

const like = (text: string): string => text.replace(/[\\%_]/g, "\\$&");

export type Envelopes = ReturnType<typeof makeEnvelopes>;

export function makeEnvelopes(database: Sqlite, count: (name: string, by: number) => void) {
  const insertMessage = database.prepare(
    `INSERT INTO message (id, kind, outgoing_id, policy_domain, report_id, message_id, file_name, sender, size, created_at, raw)
     VALUES (@id, @kind, @outgoingId, @policyDomain, @reportId, @messageId, @fileName, @sender, @size, @createdAt, @raw)`,
  );
  const insertEnvelope = database.prepare(
    `INSERT INTO envelope (id, message, rcpt, transport, destination, state, created_at, next_at, expires_at)
     VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?)`,
  );
  const nextDue = database.prepare<[], number | null>("SELECT min(next_at) FROM envelope WHERE state = 'pending'").pluck();
  const due = database.prepare<[number, number], EnvelopeRow>(`${SELECT} WHERE state = 'pending' AND next_at <= ? ORDER BY next_at LIMIT ?`);
  const byId = database.prepare<[string], EnvelopeRow>(`${SELECT} WHERE envelope.id = ?`);
  const ofMessage = database.prepare<[string], EnvelopeRow>(`${SELECT} WHERE message = ? ORDER BY envelope.id`);
  const lease = database.prepare("UPDATE envelope SET state = 'inflight', attempts = attempts + 1 WHERE id = ? AND state = 'pending'");
  const unlease = database.prepare("UPDATE envelope SET state = 'pending', attempts = attempts - 1 WHERE id = ? AND state = 'inflight'");
  const recover = database.prepare("UPDATE envelope SET state = 'pending', next_at = ? WHERE state = 'inflight'");
  const settle = database.prepare(
    "UPDATE envelope SET state = ?, next_at = ?, last = ?, settled_at = ? WHERE id = ? AND state = 'inflight'",
  );
  const insertAttempt = database.prepare("INSERT OR REPLACE INTO attempt (envelope, n, body) VALUES (?, ?, ?)");
  const trimAttempts = database.prepare("DELETE FROM attempt WHERE envelope = ? AND n <= ?");
  const attempts = database.prepare<[string], string>("SELECT body FROM attempt WHERE envelope = ? ORDER BY n").pluck();
  const message = database.prepare<[string], Record<string, never>>(
    `SELECT id, kind, outgoing_id AS outgoingId, policy_domain AS policyDomain, report_id AS reportId, message_id AS messageId,
       file_name AS fileName, sender, size, created_at AS createdAt FROM message WHERE id = ?`,
  );
  const raw = database.prepare<[string], Buffer>("SELECT raw FROM message WHERE id = ?").pluck();
  const messagesOf = database.prepare<[string], string>("SELECT id FROM message WHERE outgoing_id = ? ORDER BY id").pluck();
  const oldEnvelopes = database.prepare<[number, number], string>("SELECT id FROM envelope WHERE settled_at < ? ORDER BY settled_at LIMIT ?").pluck();
  const deleteEnvelope = database.prepare("DELETE FROM envelope WHERE id = ?");
  const deleteAttempts = database.prepare("DELETE FROM attempt WHERE envelope = ?");
  const orphans = database.prepare("DELETE FROM message WHERE NOT EXISTS (SELECT 1 FROM envelope WHERE message = message.id) AND created_at < ?");

  const moved = (from: EnvelopeState, to: EnvelopeState): void => {
    for (const [state, by] of [[from, -1], [to, 1]] as const) {
      count(FINAL.has(state) ? `queue.${state}` : `queue.envelope.${state}`, by);
    }
  };

  /** Changes selected envelopes in one go. */
  function change(
    selection: EnvelopeSelection,
    states: readonly EnvelopeState[],
    apply: (row: EnvelopeRow) => EnvelopeState | null,
  ): ChangeResult {
    const { sql, values } = where({ ...selection, states: selection.states ?? LIVE }, LIVE);
    const rows = database.prepare<unknown[], EnvelopeRow>(`${SELECT} WHERE ${sql}`).all(...values);
    const skipped: { id: string; code: string }[] = [];
    let changed = 0;
    for (const row of rows) {
      if (!states.includes(row.state)) {
        skipped.push({ id: row.id, code: row.state });
        continue;
      }
      const to = apply(row);
      if (to === null) continue;
      if (to !== row.state) moved(row.state, to);
      changed++;
    }
    return { matched: rows.length, changed, skipped: skipped.slice(0, 1000) };
  }

  const setState = database.prepare("UPDATE envelope SET state = ?, settled_at = ? WHERE id = ?");
  const setNext = database.prepare("UPDATE envelope SET state = 'pending', next_at = ?, expires_at = max(expires_at, ?) WHERE id = ?");

  return {
    add({ message: head, raw: bytes, envelopes }: NewMessage): void {
      insertMessage.run({ ...head, raw: bytes });
      count("queue.message", 1);
      for (const e of envelopes) {
        insertEnvelope.run(e.id, head.id, e.rcpt, e.transport, e.destination, head.createdAt, e.nextAt, e.expiresAt);
        count("queue.envelope.pending", 1);
      }
    },
    nextDue: (): number | undefined => nextDue.get() ?? undefined,
    lease(now: number, limit: number, skip: ReadonlySet<string>): Envelope[] {
      const leased: Envelope[] = [];
      for (const row of due.all(now, limit + skip.size * 100)) {
        if (leased.length >= limit) break;
        if (skip.has(row.destination)) continue;
        lease.run(row.id);
        moved("pending", "inflight");
        leased.push(toEnvelope({ ...row, state: "inflight", attempts: row.attempts + 1 }));
      }
      return leased;
    },
    recover(now: number): number {
      const { changes } = recover.run(now);
      count("queue.envelope.pending", changes);
      count("queue.envelope.inflight", -changes);
      return changes;
    },
    release(ids: readonly string[]): void {
      for (const id of ids) if (unlease.run(id).changes > 0) moved("inflight", "pending");
    },
    settle(id: string, outcome: AttemptOutcome, next: { state: EnvelopeState; nextAt: number }, now: number): void {
      const row = byId.get(id);
      if (!row) return;
      const { reply, result, durationMs } = outcome;
      const body = JSON.stringify({ ...reply, result, durationMs } satisfies AttemptRecord);
      insertAttempt.run(id, row.attempts, body);
      trimAttempts.run(id, row.attempts - KEPT_ATTEMPTS);
      const final = FINAL.has(next.state);
      if (settle.run(next.state, next.nextAt, JSON.stringify(reply), final ? now : null, id).changes > 0) moved("inflight", next.state);
    },
    message: (id: string): QueueMessage | undefined => message.get(id) as unknown as QueueMessage | undefined,
    raw: (id: string): Uint8Array | undefined => raw.get(id),
    messagesOf: (outgoingId: string): string[] => messagesOf.all(outgoingId),
    envelope(id: string): Envelope | undefined {
      const row = byId.get(id);
      return row && toEnvelope(row);
    },
    of: (messageId: string): Envelope[] => ofMessage.all(messageId).map(toEnvelope),
    attempts: (id: string): AttemptRecord[] => attempts.all(id).map((body) => JSON.parse(body) as AttemptRecord),
    list(selection: EnvelopeSelection, page: Page): Paged<Envelope> {
      const { sql, values } = where(selection, LIVE);
      const rows = database
        .prepare<unknown[], EnvelopeRow>(`${SELECT} WHERE ${sql} AND envelope.id > ? ORDER BY envelope.id LIMIT ?`)
        .all(...values, page.after ?? "", page.limit + 1);
      const items = rows.slice(0, page.limit).map(toEnvelope);
      return { items, next: rows.length > page.limit ? items.at(-1)!.id : null };
    },
    count(selection: EnvelopeSelection): number {
      const { sql, values } = where(selection, LIVE);
      return database
        .prepare<unknown[], number>(`SELECT count(*) FROM envelope JOIN message ON message.id = envelope.message WHERE ${sql}`)
        .pluck()
        .get(...values)!;
    },
    /** Due at `at`; the expiry is never shortened, and leaves room for the attempt. */
    schedule: (selection: EnvelopeSelection, at: number): ChangeResult =>
      change(selection, ["pending", "held"], (row) => {
        setNext.run(at, at + 3600, row.id);
        return "pending";
      }),
    hold: (selection: EnvelopeSelection, held: boolean): ChangeResult =>
      change(selection, held ? ["pending"] : ["held"], (row) => {
        const to = held ? "held" : "pending";
        setState.run(to, null, row.id);
        return to;
      }),
    remove: (selection: EnvelopeSelection, now: number): ChangeResult =>
      change(selection, ["pending", "held"], (row) => {
        setState.run("removed", now, row.id);
        return "removed";
      }),
    prune(before: number, limit: number): number {
      const ids = oldEnvelopes.all(before, limit);
      for (const id of ids) {
        deleteAttempts.run(id);
        deleteEnvelope.run(id);
      }
      if (ids.length > 0) orphans.run(before);
      return ids.length;
    },
  };
}
