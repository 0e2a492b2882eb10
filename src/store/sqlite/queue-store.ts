/** queue.db: the queue store on SQLite. */
import type { OutgoingPolicy, OutgoingReport, OutgoingState } from "../../model/outgoing.ts";
import { MailreportError } from "../../lib/errors.ts";
import type { Pause, Suppression } from "../../model/queue.ts";
import type { OutgoingSelection, QueueStore } from "../queue.ts";
import { migrate } from "./migrate.ts";
import { guarded, openDatabase } from "./open.ts";
import { makeCounting } from "./queue-counting.ts";
import { makeEnvelopes } from "./queue-envelopes.ts";
import { QUEUE_MIGRATIONS } from "./queue-schema.ts";

interface OutgoingRow {
  readonly id: string;
  readonly kind: OutgoingReport["kind"];
  readonly policy_domain: string;
  readonly policy_hash: string;
  readonly begin: number;
  readonly end: number;
  readonly due: number;
  readonly state: OutgoingState;
  readonly drop_reason: OutgoingReport["dropReason"];
  readonly resolve_attempts: number;
  readonly last_error: string | null;
  readonly rows: number;
  readonly messages: number;
  readonly reportable: number;
  readonly wanted: number;
  readonly late: number;
  readonly created_at: number;
  readonly composed_at: number | null;
}

/** Opens, and brings to the newest schema, the queue at `path`. Errors: `store.*`. */
export function openQueueStore(path: string): QueueStore {
  const database = openDatabase(path);
  migrate(database, QUEUE_MIGRATIONS);
  const addCounter = database.prepare(
    "INSERT INTO counter (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
  );
  let gathered = new Map<string, number>();
  const count = (name: string, by: number): void => {
    if (by !== 0) gathered.set(name, (gathered.get(name) ?? 0) + by);
  };
  const begin = database.prepare("BEGIN IMMEDIATE");
  const commit = database.prepare("COMMIT");

  /** One transaction; counters change with what they count. */
  function transaction<T>(work: () => T): T {
    return guarded(() => {
      begin.run();
      try {
        const result = work();
        for (const [name, by] of gathered) addCounter.run(name, by);
        commit.run();
        return result;
      } catch (error) {
        if (database.inTransaction) database.exec("ROLLBACK");
        throw error;
      } finally {
        gathered = new Map();
      }
    }, "queue");
  }
  const read = <T>(work: () => T): T => guarded(work, "queue");

  const counting = makeCounting(database, count);
  const envelopes = makeEnvelopes(database, count);
  const sql = {
    nextDue: database.prepare<[], number | null>("SELECT min(due) FROM outgoing WHERE state = 'open'").pluck(),
    due: database.prepare<[number, number], OutgoingRow>("SELECT * FROM outgoing WHERE state = 'open' AND due <= ? ORDER BY due LIMIT ?"),
    byId: database.prepare<[string], OutgoingRow>("SELECT * FROM outgoing WHERE id = ?"),
    policy: database.prepare<[string], string>("SELECT policy FROM outgoing WHERE id = ?").pluck(),
    closedUntil: database
      .prepare<[string, string, string, number, number, number], number | null>(
        `SELECT max("end") FROM outgoing WHERE kind = ? AND policy_domain = ? AND policy_hash = ? AND "begin" >= ? AND "begin" <= ?
           AND ("end" < ? OR state IN ('composed', 'dropped'))`,
      )
      .pluck(),
    close: database.prepare(`UPDATE outgoing SET "end" = ?, due = ? WHERE id = ?`),
    defer: database.prepare("UPDATE outgoing SET due = ?, resolve_attempts = resolve_attempts + 1, last_error = ? WHERE id = ?"),
    setDue: database.prepare("UPDATE outgoing SET due = ? WHERE id = ? AND state = 'open'"),
    setState: database.prepare("UPDATE outgoing SET state = ? WHERE id = ? AND state = ?"),
    drop: database.prepare("UPDATE outgoing SET state = 'dropped', drop_reason = ?, composed_at = ? WHERE id = ?"),
    composed: database.prepare("UPDATE outgoing SET state = 'composed', composed_at = ?, last_error = ? WHERE id = ?"),
    deleteTallies: database.prepare("DELETE FROM tally WHERE outgoing = (SELECT n FROM outgoing WHERE id = ?)"),
    pauses: database.prepare<[], Pause>("SELECT subsystem, nullif(destination, '') AS destination, since, until, who, reason FROM pause ORDER BY subsystem, destination"),
    pause: database.prepare("INSERT OR IGNORE INTO pause (subsystem, destination, since, until, who, reason) VALUES (?, ?, ?, ?, ?, ?)"),
    resume: database.prepare("DELETE FROM pause WHERE subsystem = ? AND destination = ?"),
    suppressions: database.prepare<[], Suppression>("SELECT target, until, reason, author, created_at AS createdAt, step FROM suppression ORDER BY target"),
    suppression: database.prepare<[string, number], Suppression>(
      "SELECT target, until, reason, author, created_at AS createdAt, step FROM suppression WHERE target = ? AND (until IS NULL OR until > ?)",
    ),
    suppress: database.prepare("INSERT OR REPLACE INTO suppression (target, until, reason, author, created_at, step) VALUES (@target, @until, @reason, @author, @createdAt, @step)"),
    unsuppress: database.prepare("DELETE FROM suppression WHERE target = ?"),
    audit: database.prepare("INSERT INTO audit (at, who, command, detail) VALUES (@at, @who, @command, @detail)"),
    meta: database.prepare<[string], Buffer>("SELECT value FROM meta WHERE name = ?").pluck(),
    setMeta: database.prepare("INSERT INTO meta (name, value) VALUES (?, ?)"),
    counters: database.prepare<[], { name: string; value: number }>("SELECT name, value FROM counter ORDER BY name"),
  };

  const toOutgoing = (row: OutgoingRow): OutgoingReport => ({
    id: row.id,
    kind: row.kind,
    policyDomain: row.policy_domain,
    policyHash: row.policy_hash,
    begin: row.begin,
    end: row.end,
    due: row.due,
    state: row.state,
    dropReason: row.drop_reason,
    resolveAttempts: row.resolve_attempts,
    lastError: row.last_error,
    rows: row.rows,
    messages: row.messages,
    reportable: row.reportable,
    wanted: row.wanted,
    lateEvents: row.late,
    createdAt: row.created_at,
    composedAt: row.composed_at,
    messageIds: envelopes.messagesOf(row.id),
  });

  /** The report, which must be open. Its tallies leave with it. */
  function leaveOpen(id: string): void {
    const row = sql.byId.get(id);
    if (!row) throw new MailreportError("outgoing.no_such_report", { detail: id });
    if (row.state !== "open" && row.state !== "held") throw new MailreportError("outgoing.not_open", { detail: `${id} is ${row.state}` });
    count(`outgoing.${row.state}`, -1);
    count("outgoing.tally", -sql.deleteTallies.run(id).changes);
  }

  function listWhere({ ids, kind, domain, states }: OutgoingSelection): { text: string; values: unknown[] } {
    const terms = ["1"];
    const values: unknown[] = [];
    const list = (column: string, items: readonly unknown[] | undefined): void => {
      if (!items) return;
      terms.push(`${column} IN (${items.map(() => "?").join(", ")})`);
      values.push(...items);
    };
    list("id", ids);
    list("state", states);
    if (kind) list("kind", [kind]);
    if (domain) list("policy_domain", [domain]);
    return { text: terms.join(" AND "), values };
  }

  return {
    count: (feed, events, now) => transaction(() => counting.count(feed, events, now)),
    closedUntil: (kind, domain, hash, from, to) =>
      read(() => sql.closedUntil.get(kind, domain, hash, from, to, to) ?? undefined),

    nextOutgoingDue: () => read(() => sql.nextDue.get() ?? undefined),
    dueOutgoing: (now, limit) => read(() => sql.due.all(now, limit).map(toOutgoing)),
    outgoing(id) {
      const row = read(() => sql.byId.get(id));
      return row && toOutgoing(row);
    },
    findOutgoing(kind, domain, policyHash, from) {
      const rows = database
        .prepare<unknown[], OutgoingRow>(
          `SELECT * FROM outgoing WHERE kind = ? AND policy_domain = ? AND (? IS NULL OR policy_hash = ?) AND (? IS NULL OR "begin" = ?)
           ORDER BY state IN ('open', 'held') DESC, "begin" DESC, n DESC LIMIT 100`,
        )
        .all(kind, domain, policyHash, policyHash, from, from);
      return rows.map(toOutgoing);
    },
    listOutgoing(selection, page) {
      const { text, values } = listWhere(selection);
      const rows = database
        .prepare<unknown[], OutgoingRow>(`SELECT * FROM outgoing WHERE ${text} AND id > ? ORDER BY id LIMIT ?`)
        .all(...values, page.after ?? "", page.limit + 1);
      const items = rows.slice(0, page.limit).map(toOutgoing);
      return { items, next: rows.length > page.limit ? items.at(-1)!.id : null };
    },
    outgoingPolicy(id) {
      const text = read(() => sql.policy.get(id));
      return text === undefined ? undefined : (JSON.parse(text) as OutgoingPolicy);
    },
    tallies: (id) => read(() => counting.rows(id)),
    closeOutgoing(id, end, due) {
      transaction(() => sql.close.run(end, due, id));
      return toOutgoing(sql.byId.get(id)!);
    },
    deferOutgoing: (id, due, error) => void transaction(() => sql.defer.run(due, error, id)),
    setOutgoingDue: (id, due) => transaction(() => sql.setDue.run(due, id).changes > 0),
    holdOutgoing: (id, held) =>
      transaction(() => {
        const [from, to] = held ? ["open", "held"] : ["held", "open"];
        if (sql.setState.run(to, id, from).changes === 0) return false;
        count(`outgoing.${from}`, -1);
        count(`outgoing.${to}`, 1);
        return true;
      }),
    dropOutgoing: (id, reason, now) =>
      transaction(() => {
        leaveOpen(id);
        sql.drop.run(reason, now, id);
        count("outgoing.dropped", 1);
      }),
    compose: (id, messages, now, note) =>
      transaction(() => {
        leaveOpen(id);
        for (const message of messages) envelopes.add(message);
        sql.composed.run(now, note, id);
        count("outgoing.composed", 1);
      }),

    nextEnvelopeDue: () => read(() => envelopes.nextDue()),
    leaseEnvelopes: (now, limit, skip) => transaction(() => envelopes.lease(now, limit, skip)),
    recoverInflight: (now) => transaction(() => envelopes.recover(now)),
    releaseEnvelopes: (ids) => transaction(() => envelopes.release(ids)),
    settle: (id, outcome, next, now) => transaction(() => envelopes.settle(id, outcome, next, now)),
    message: (id) => read(() => envelopes.message(id)),
    rawMessage: (id) => read(() => envelopes.raw(id)),
    envelope: (id) => read(() => envelopes.envelope(id)),
    envelopesOf: (id) => read(() => envelopes.of(id)),
    attempts: (id) => read(() => envelopes.attempts(id)),
    listEnvelopes: (selection, page) => read(() => envelopes.list(selection, page)),
    countEnvelopes: (selection) => read(() => envelopes.count(selection)),
    scheduleEnvelopes: (selection, at) => transaction(() => envelopes.schedule(selection, at)),
    holdEnvelopes: (selection, held) => transaction(() => envelopes.hold(selection, held)),
    removeEnvelopes: (selection, now) => transaction(() => envelopes.remove(selection, now)),
    prune: (before, limit) => transaction(() => envelopes.prune(before, limit)),

    pauses: () => read(() => sql.pauses.all()),
    pause: ({ subsystem, destination, since, until, who, reason }) =>
      transaction(() => sql.pause.run(subsystem, destination ?? "", since, until, who, reason).changes > 0),
    resume: (subsystem, destination) => transaction(() => sql.resume.run(subsystem, destination ?? "").changes > 0),
    suppressions: () => read(() => sql.suppressions.all()),
    suppression: (target, now) => read(() => sql.suppression.get(target, now)),
    suppress: (entry) => void transaction(() => sql.suppress.run(entry)),
    unsuppress: (target) => transaction(() => sql.unsuppress.run(target).changes > 0),
    audit: (entry) => void transaction(() => sql.audit.run(entry)),
    instanceSecret(make) {
      const known = read(() => sql.meta.get("secret"));
      if (known) return known;
      const secret = make();
      transaction(() => sql.setMeta.run("secret", Buffer.from(secret)));
      return secret;
    },
    stats: () => read(() => Object.fromEntries(sql.counters.all().map(({ name, value }) => [name, value]))),
    checkpoint: () => void database.pragma("wal_checkpoint(PASSIVE)"),
    close: () => void database.close(),
  };
}
