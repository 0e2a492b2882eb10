/** The suppression list of queue.db. Targets are stored in lower case. */
import type { Suppression } from "../../../model/queue.ts";
import type { QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import type { QueueTransaction } from "./transaction.ts";

const COLUMNS = "target, until, reason, author, created_at AS createdAt, step";

/** What other parts of the store do to the list inside their own transactions. */
export interface SuppressionWrites {
  /** Adds or replaces; false when an operator's entry that applies stands in the way of an automatic one. */
  add(entry: Suppression): boolean;
  /** Deletes the automatic entry of a recipient that was delivered to. */
  clearAutomatic(rcpt: string): void;
}

export type SuppressionPart = Pick<
  QueueStore,
  "suppressions" | "suppression" | "lastSuppression" | "suppress" | "unsuppress"
>;

export function makeSuppressionWrites(database: Sqlite): SuppressionWrites {
  const add = database.prepare(
    `INSERT INTO suppression (target, until, reason, author, created_at, step)
     VALUES (@target, @until, @reason, @author, @createdAt, @step)
     ON CONFLICT (target) DO UPDATE SET until = excluded.until, reason = excluded.reason,
       author = excluded.author, created_at = excluded.created_at, step = excluded.step
     WHERE excluded.author = 'operator' OR suppression.author = 'automatic' OR suppression.until <= excluded.created_at`,
  );
  const clear = database.prepare("DELETE FROM suppression WHERE target = ? AND author = 'automatic'");
  return {
    add: (entry) => add.run({ ...entry, target: entry.target.toLowerCase() }).changes === 1,
    clearAutomatic: (rcpt) => void clear.run(rcpt.toLowerCase()),
  };
}

export function makeSuppressions(
  database: Sqlite,
  transaction: QueueTransaction,
  writes: SuppressionWrites,
): SuppressionPart {
  const all = database.prepare<[], Suppression>(`SELECT ${COLUMNS} FROM suppression ORDER BY target`);
  const one = database.prepare<[string], Suppression>(`SELECT ${COLUMNS} FROM suppression WHERE target = ?`);
  const active = database.prepare<[string, number], Suppression>(
    `SELECT ${COLUMNS} FROM suppression WHERE target = ? AND (until IS NULL OR until > ?)`,
  );
  const remove = database.prepare("DELETE FROM suppression WHERE target = ?");
  return {
    suppressions: () => all.all(),
    suppression: (target, now) => active.get(target.toLowerCase(), now),
    lastSuppression: (target) => one.get(target.toLowerCase()),
    suppress: (entry) => transaction.run(() => writes.add(entry)),
    unsuppress: (targets) =>
      transaction.run(() => targets.reduce((n, each) => n + remove.run(each.toLowerCase()).changes, 0)),
  };
}
