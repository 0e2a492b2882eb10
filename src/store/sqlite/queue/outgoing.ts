/** The outgoing reports of queue.db: states, due times, and the step from tallies to messages. */
import { MailreportError } from "../../../lib/errors.ts";
import type { DropReason, OutgoingPolicy, OutgoingReport, TallySums } from "../../../model/outgoing.ts";
import type { NewMessage, OutgoingSelection, Page, Paged, QueueStore, RestoredReport } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import { BEING_DELETED, GONE, KEPT, type OutgoingRow, reportOf, SELECT } from "./outgoing-row.ts";
import { makeRestorer } from "./restore.ts";
import { Conditions, pageOf } from "./select.ts";
import { makeSomeTallies, makeTallyDelete, makeTallyRead } from "./tallies.ts";
import type { QueueTransaction } from "./transaction.ts";

/** Keys whose last closed end is remembered. */
const CLOSED_KEYS = 50_000;
const LONGEST_ERROR = 500;
/** Tallies that `compose` deletes in its own transaction; more are left to `purgeTallies`. */
const FEW_TALLIES = 200;

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
  | "someTallies"
  | "closeOutgoing"
  | "reopenOutgoing"
  | "deferOutgoing"
  | "failOutgoing"
  | "setOutgoingDue"
  | "holdOutgoing"
  | "dropOutgoing"
  | "undeleteOutgoing"
  | "planUndelete"
  | "compose"
  | "stageRaw"
  | "unstageRaw"
  | "dropStagedRaw"
  | "nextTallyPurge"
  | "purgeTallies"
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
  const sql = prepare(database);
  const readTallies = makeTallyRead(database);
  const someTallies = makeSomeTallies(database);
  const deleteTallies = makeTallyDelete(database);
  const closedEnds = new Map<string, number | undefined>();
  const restorer = makeRestorer(database, transaction, closes);
  transaction.onRollback(() => closedEnds.clear());

  function closes(id: string): void {
    closedEnds.clear();
    changed(id);
  }

  /** Makes the state final. */
  function settle(
    row: OutgoingRow,
    state: "composed" | "dropped",
    reason: DropReason | null,
    now: number,
    note: string | null,
    messageIds: readonly string[],
    kept: number,
  ): void {
    sql.settle.run({
      no: row.no,
      state,
      reason,
      now,
      kept,
      note: note?.slice(0, LONGEST_ERROR) ?? row.last_error,
      messageIds: JSON.stringify(messageIds),
    });
    counters.add(`outgoing.${row.state}`, -1);
    counters.add(`outgoing.${state}`, 1);
    counters.add("outgoing.tally", -row.rows);
    counters.add("outgoing.message", -row.messages);
    counters.add(`outgoing.message.${state}`, row.messages);
    if (reason) counters.add(`outgoing.dropped.${reason}`, 1);
    closes(row.id);
  }

  /** A report that can still be changed. */
  function waiting(id: string): OutgoingRow {
    const row = sql.one.get(id);
    if (!row) throw new MailreportError("outgoing.no_such_report", { detail: id });
    if (row.state !== "open" && row.state !== "held") {
      throw new MailreportError("outgoing.not_open", { detail: `${id} is ${row.state}` });
    }
    return row;
  }

  /** Closes a report, and cuts its period at `end` where it goes on longer. */
  function cut(row: OutgoingRow, end: number, due: number): OutgoingRow {
    const last = Math.max(row.begin, Math.min(row.end, end));
    if (last < row.end)
      sql.cut.run({
        no: row.no,
        end: last,
        due,
        fullEnd: row.full_end ?? row.end,
        fullDue: row.full_due ?? row.due,
      });
    else sql.close.run(due, row.no);
    closes(row.id);
    return sql.one.get(row.id)!;
  }

  /** What a composition was made of must be what is there when it is committed. */
  function unchanged(row: OutgoingRow, seen: TallySums): void {
    if (row.state !== "open")
      throw new MailreportError("outgoing.not_open", { detail: `${row.id} is ${row.state}` });
    if (row.closed === 0 || row.rows !== seen.rows || row.messages !== seen.messages)
      throw new MailreportError("outgoing.changed", { detail: row.id });
  }

  function planUndelete(id: string, now: number, notBefore: number) {
    const row = restorer.dropped(id);
    const plan = restorer.plan(row, now);
    return { row, plan: { ...plan, due: plan.due > now ? plan.due : notBefore } };
  }

  function undelete(id: string, now: number, notBefore: number): RestoredReport {
    const { row, plan } = planUndelete(id, now, notBefore);
    const state = plan.merged?.state === "held" ? "held" : "open";
    sql.undelete.run(state, row.no);
    counters.add("outgoing.dropped", -1);
    counters.add(`outgoing.dropped.${row.drop_reason}`, -1);
    counters.add(`outgoing.${state}`, 1);
    counters.add("outgoing.tally.dropped", -row.rows);
    counters.add("outgoing.tally", row.rows);
    counters.add("outgoing.message.dropped", -row.messages);
    counters.add("outgoing.message", row.messages);
    restorer.restore(row, plan);
    return { report: reportOf(sql.one.get(id)!), merged: plan.merged?.id ?? null };
  }

  /** One slice of the tallies of a report that is composed, or was dropped long enough ago. */
  function purge(now: number, keep: number, limit: number): number {
    const begun = sql.beingDeleted.get();
    if (begun !== undefined) {
      const deleted = deleteTallies(begun.no, limit);
      if (deleted === 0) sql.setKept.run(GONE, begun.no);
      return deleted || 1;
    }
    const expired = sql.oldestKept.get();
    if (expired === undefined || expired.settled_at > now - keep) return 0;
    // from now on it cannot be brought back
    sql.setKept.run(BEING_DELETED, expired.no);
    counters.add("outgoing.tally.dropped", -expired.rows);
    return 1;
  }

  return {
    closedUntil(kind, domain, hash, begin, endSecond) {
      const key = `${kind}!${domain}!${hash}!${begin}!${endSecond}`;
      if (closedEnds.has(key)) return closedEnds.get(key);
      if (closedEnds.size >= CLOSED_KEYS) closedEnds.clear();
      const found = sql.lastClosed.get(endSecond, kind, domain, hash, begin, endSecond) ?? undefined;
      closedEnds.set(key, found);
      return found;
    },
    nextOutgoingDue(skip) {
      const next = skip?.size ? sql.nextDueBut.get(JSON.stringify([...skip])) : sql.nextDue.get();
      return next ?? undefined;
    },
    dueOutgoing(now, limit, skip) {
      const rows = skip?.size
        ? sql.dueBut.all(now, JSON.stringify([...skip]), limit)
        : sql.due.all(now, limit);
      return rows.map(reportOf);
    },
    outgoing(id) {
      const row = sql.one.get(id);
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
      const text = sql.policy.get(id);
      return text === undefined ? undefined : (JSON.parse(text) as OutgoingPolicy);
    },
    tallies(id) {
      const row = sql.one.get(id);
      return row ? [...readTallies(row.no, row.kind)] : [];
    },
    someTallies(id, limit) {
      const row = sql.one.get(id);
      return row ? someTallies(row.no, row.kind, limit) : { rows: [], total: 0 };
    },
    closeOutgoing: (id, end, due) => transaction.run(() => reportOf(cut(waiting(id), end, due))),
    reopenOutgoing: (id) =>
      transaction.run(() => {
        const row = waiting(id);
        const plan = restorer.plan(row, Number.NEGATIVE_INFINITY);
        restorer.restore(row, plan);
        return { report: reportOf(sql.one.get(id)!), merged: plan.merged?.id ?? null };
      }),
    deferOutgoing: (id, due, error) =>
      transaction.run(() => void sql.defer.run(due, error.slice(0, LONGEST_ERROR), id)),
    failOutgoing: (id, due, error) =>
      transaction.run(() => void sql.fail.run(due, error.slice(0, LONGEST_ERROR), id)),
    setOutgoingDue: (id, due) => transaction.run(() => sql.setDue.run(due, id).changes === 1),
    holdOutgoing: (id, held) =>
      transaction.run(() => {
        const [from, to] = held ? (["open", "held"] as const) : (["held", "open"] as const);
        if (sql.setState.run(to, id, from).changes === 0) return false;
        counters.add(`outgoing.${from}`, -1);
        counters.add(`outgoing.${to}`, 1);
        return true;
      }),
    dropOutgoing: (id, reason, now) =>
      transaction.run(() => {
        const row = waiting(id);
        settle(now < row.end ? cut(row, now, row.due) : row, "dropped", reason, now, null, [], KEPT);
        counters.add("outgoing.tally.dropped", row.rows);
      }),
    undeleteOutgoing: (id, now, notBefore) => transaction.run(() => undelete(id, now, notBefore)),
    planUndelete(id, now, notBefore) {
      const { row, plan } = planUndelete(id, now, notBefore);
      const state = plan.merged?.state ?? "open";
      const report = { ...reportOf(row), state, end: plan.end, due: plan.due, closed: plan.closed === 1 };
      return { report, merged: plan.merged?.id ?? null };
    },
    compose: (id, messages, now, note, seen) =>
      transaction.run(() => {
        const row = waiting(id);
        if (seen) unchanged(row, seen);
        for (const message of messages) insertMessage(message, now);
        const many = row.rows > FEW_TALLIES;
        const ids = messages.map(({ message }) => message.id);
        settle(row, "composed", null, now, note, ids, many ? BEING_DELETED : GONE);
        while (!many && deleteTallies(row.no, FEW_TALLIES) > 0);
      }),
    stageRaw: (messageId, part, slice) =>
      transaction.run(() => {
        if (part === 0) sql.unstage.run(messageId);
        sql.stage.run(messageId, part, slice);
      }),
    unstageRaw: (messageId) => transaction.run(() => sql.unstageUncomposed.run({ id: messageId }).changes),
    dropStagedRaw(staging) {
      const left = sql.staged.get(JSON.stringify([...(staging ?? [])]));
      return left === undefined ? 0 : transaction.run(() => sql.unstage.run(left).changes);
    },
    nextTallyPurge(keep) {
      const kept = sql.oldestKept.get();
      return sql.beingDeleted.get()?.settled_at ?? (kept && kept.settled_at + keep);
    },
    purgeTallies: (now, keep, limit) => transaction.run(() => purge(now, keep, limit)),
    pruneOutgoing: (before, limit) =>
      transaction.run(() => {
        const old = sql.settledBefore.all(before, limit);
        for (const no of old) sql.remove.run(no);
        if (old.length > 0) closedEnds.clear();
        return old.length;
      }),
  };
}

/** A report with tallies that are to be deleted. */
interface Settled {
  readonly no: number;
  readonly settled_at: number;
  readonly rows: number;
}

function prepare(database: Sqlite) {
  const but = "id NOT IN (SELECT value FROM json_each(?))";
  const due = `${SELECT} WHERE state = 'open' AND due <= ?`;
  const nextDue = "SELECT due FROM outgoing WHERE state = 'open'";
  // literally the condition of the index `outgoing_tallies`
  const kept = `SELECT no, settled_at, rows FROM outgoing JOIN outgoing_sum ON outgoing = no
    WHERE tallies_kept > 0 AND tallies_kept`;
  return {
    one: database.prepare<[string], OutgoingRow>(`${SELECT} WHERE id = ?`),
    nextDue: database.prepare<[], number>(`${nextDue} ORDER BY due LIMIT 1`).pluck(),
    nextDueBut: database.prepare<[string], number>(`${nextDue} AND ${but} ORDER BY due LIMIT 1`).pluck(),
    due: database.prepare<[number, number], OutgoingRow>(`${due} ORDER BY due LIMIT ?`),
    dueBut: database.prepare<[number, string, number], OutgoingRow>(`${due} AND ${but} ORDER BY due LIMIT ?`),
    lastClosed: database
      .prepare<[number, string, string, string, number, number], number | null>(
        `SELECT min(max(end), ?) FROM outgoing
         WHERE kind = ? AND domain = ? AND policy_hash = ? AND end >= ? AND begin <= ? AND closed = 1`,
      )
      .pluck(),
    cut: database.prepare(
      `UPDATE outgoing SET end = @end, due = @due, closed = 1, full_end = @fullEnd, full_due = @fullDue
       WHERE no = @no`,
    ),
    close: database.prepare("UPDATE outgoing SET due = ?, closed = 1 WHERE no = ?"),
    defer: database.prepare(
      "UPDATE outgoing SET due = ?, last_error = ?, resolve_attempts = resolve_attempts + 1 WHERE id = ? AND state = 'open'",
    ),
    fail: database.prepare(
      "UPDATE outgoing SET due = ?, last_error = ?, failures = failures + 1 WHERE id = ? AND state = 'open'",
    ),
    setDue: database.prepare("UPDATE outgoing SET due = ? WHERE id = ? AND state = 'open'"),
    setState: database.prepare("UPDATE outgoing SET state = ? WHERE id = ? AND state = ?"),
    settle: database.prepare(
      `UPDATE outgoing SET state = @state, closed = 1, drop_reason = @reason, last_error = @note, settled_at = @now,
         message_ids = @messageIds, tallies_kept = @kept WHERE no = @no`,
    ),
    undelete: database.prepare(
      `UPDATE outgoing SET state = ?, drop_reason = NULL, settled_at = NULL, last_error = NULL, resolve_attempts = 0,
         failures = 0, tallies_kept = 0 WHERE no = ?`,
    ),
    policy: database.prepare<[string], string>("SELECT policy FROM outgoing WHERE id = ?").pluck(),
    beingDeleted: database.prepare<[], Settled>(`${kept} = ${BEING_DELETED} ORDER BY settled_at LIMIT 1`),
    oldestKept: database.prepare<[], Settled>(`${kept} = ${KEPT} ORDER BY settled_at LIMIT 1`),
    setKept: database.prepare("UPDATE outgoing SET tallies_kept = ? WHERE no = ?"),
    unstage: database.prepare("DELETE FROM raw_slice WHERE message = ?"),
    unstageUncomposed: database.prepare(
      "DELETE FROM raw_slice WHERE message = @id AND NOT EXISTS (SELECT 1 FROM message WHERE id = @id)",
    ),
    stage: database.prepare("INSERT INTO raw_slice (message, part, body) VALUES (?, ?, ?)"),
    staged: database
      .prepare<[string], string>(
        `SELECT message FROM raw_slice WHERE part = 0 AND message NOT IN (SELECT id FROM message)
         AND message NOT IN (SELECT value FROM json_each(?)) LIMIT 1`,
      )
      .pluck(),
    settledBefore: database
      .prepare<[number, number], number>(
        "SELECT no FROM outgoing WHERE settled_at < ? AND tallies_kept = 0 LIMIT ?",
      )
      .pluck(),
    remove: database.prepare("DELETE FROM outgoing WHERE no = ?"),
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
