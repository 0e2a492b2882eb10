/** What operators do to many envelopes at once: schedule, hold, release, remove, undelete, requeue. */
import {
  type ChangeResult,
  type EnvelopeSelection,
  type EnvelopeState,
  isFinal,
} from "../../../model/queue.ts";
import type { QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import type { Conditions } from "./select.ts";
import type { QueueTransaction } from "./transaction.ts";

/** Skipped envelopes that are named one by one. */
const NAMED = 100;
/** Seconds that an envelope brought back has left at least: more than an attempt takes. */
const ATTEMPT_ROOM = 3600;

/**
 * Conditions of a selection. Where it names no states: those that a person may still wait for (active), those that can
 * be brought back (undone: failed, expired, removed), or all.
 */
type ConditionsOf = (selection: EnvelopeSelection, defaults: "active" | "undone" | null) => Conditions;

type Value = string | number;

interface Change {
  /** States that this change starts from; envelopes in another one are skipped, with their state as the code. */
  readonly from: readonly EnvelopeState[];
  /** SQL expression of the new state. */
  readonly to: string;
  /** Further assignments, and their values. */
  readonly set: string;
  readonly values: readonly Value[];
  /** Envelopes in one of the states `from` that are skipped all the same, with this code. */
  readonly except?: { readonly condition: string; readonly values: readonly Value[]; readonly code: string };
}

/** An operator's suppression that applies at `?`. */
const SUPPRESSED = `EXISTS (SELECT 1 FROM suppression WHERE suppression.author = 'operator'
  AND (suppression.until IS NULL OR suppression.until > ?)
  AND suppression.target IN (lower(rcpt), '@' || lower(destination), lower(policy_domain)))`;

const FROM = "FROM envelope JOIN message ON message.id = message";

export function changeEnvelopes(
  database: Sqlite,
  transaction: QueueTransaction,
  conditionsOf: ConditionsOf,
): Pick<
  QueueStore,
  "scheduleEnvelopes" | "holdEnvelopes" | "removeEnvelopes" | "undeleteEnvelopes" | "requeueEnvelopes"
> {
  const lift = database.prepare(
    `UPDATE suppression SET until = ? WHERE author = 'automatic' AND (until IS NULL OR until > ?)
       AND target IN (SELECT lower(rcpt) FROM envelope WHERE id IN (SELECT value FROM json_each(?)))`,
  );

  /**
   * What a change answers for: ids that an operator typed whatever their state; of a filter or all, the active
   * envelopes or, where the change starts from final states, the envelopes in those.
   */
  function selected(selection: EnvelopeSelection, { from }: Change): Conditions {
    if (selection.ids !== undefined || selection.states !== undefined) return conditionsOf(selection, null);
    if (!from.every(isFinal)) return conditionsOf(selection, "active");
    return conditionsOf(selection, "undone").oneOf("state", from);
  }

  function able(selection: EnvelopeSelection, change: Change): Conditions {
    const where = selected(selection, change).oneOf("state", change.from);
    if (change.except) where.add(`NOT ${change.except.condition}`, ...change.except.values);
    return where;
  }

  function skipped(selection: EnvelopeSelection, change: Change): { id: string; code: string }[] {
    const { from, except } = change;
    const where = selected(selection, change);
    const states = from.map((state) => `'${state}'`).join(", ");
    if (except) where.add(`(state NOT IN (${states}) OR ${except.condition})`, ...except.values);
    else where.add(`state NOT IN (${states})`);
    const code = except ? `CASE WHEN state IN (${states}) THEN '${except.code}' ELSE state END` : "state";
    return database
      .prepare(
        `SELECT envelope.id AS id, ${code} AS code ${FROM} ${where} ORDER BY envelope.id LIMIT ${NAMED}`,
      )
      .all(...where.values) as { id: string; code: string }[];
  }

  function count(where: Conditions): number {
    return database
      .prepare(`SELECT count(*) ${FROM} ${where}`)
      .pluck()
      .get(...where.values) as number;
  }

  function update({ to, set, values }: Change, where: Conditions): void {
    const moves = database
      .prepare(`SELECT state, ${to} AS next, count(*) AS n ${FROM} ${where} GROUP BY state, next`)
      .all(...where.values) as { state: EnvelopeState; next: EnvelopeState; n: number }[];
    database
      .prepare(`UPDATE envelope SET state = ${to}${set} WHERE id IN (SELECT envelope.id ${FROM} ${where})`)
      .run(...values, ...where.values);
    for (const { state, next, n } of moves) transaction.moved(state, next, n);
  }

  function apply(
    selection: EnvelopeSelection,
    change: Change,
    dryRun: boolean,
    before?: (where: Conditions) => void,
  ): ChangeResult {
    const work = (): ChangeResult => {
      const where = able(selection, change);
      const result = {
        matched: count(selected(selection, change)),
        changed: count(where),
        skipped: skipped(selection, change),
      };
      if (!dryRun) {
        before?.(where);
        update(change, where);
      }
      return result;
    };
    return dryRun ? work() : transaction.run(work);
  }

  return {
    scheduleEnvelopes(selection, at, now, dryRun = false) {
      const change: Change = {
        from: ["pending", "held"],
        to: "'pending'",
        set: ", next_at = ?",
        values: [at],
        // one of which the life is over may be tried now, once
        except: { condition: "(expires_at < ? AND ? > ?)", values: [at, at, now], code: "expires_before" },
      };
      return apply(selection, change, dryRun);
    },
    holdEnvelopes(selection, held, dryRun = false) {
      const [from, to] = held ? (["pending", "'held'"] as const) : (["held", "'pending'"] as const);
      return apply(selection, { from: [from], to, set: "", values: [] }, dryRun);
    },
    removeEnvelopes(selection, now, dryRun = false) {
      const set = ", settled_at = ?, removed_from = state";
      const change: Change = {
        from: ["pending", "held"],
        to: "'removed'",
        set,
        values: [now],
      };
      return apply(selection, change, dryRun);
    },
    undeleteEnvelopes(selection, now, dryRun = false) {
      const set = `, settled_at = NULL, removed_from = NULL,
        expires_at = max(expires_at + max(0, ? - settled_at), ?)`;
      const change: Change = {
        from: ["removed"],
        to: "CASE removed_from WHEN 'held' THEN 'held' ELSE 'pending' END",
        set,
        values: [now, now + ATTEMPT_ROOM],
      };
      return apply(selection, change, dryRun);
    },
    requeueEnvelopes(selection, now, expiresAt, dryRun = false) {
      const change: Change = {
        from: ["failed", "expired"],
        to: "'pending'",
        set: ", attempts = 0, next_at = ?, expires_at = ?, settled_at = NULL",
        values: [now, expiresAt],
        except: { condition: SUPPRESSED, values: [now], code: "suppressed" },
      };
      return apply(selection, change, dryRun, (where) => {
        const ids = database
          .prepare(`SELECT envelope.id ${FROM} ${where}`)
          .pluck()
          .all(...where.values) as string[];
        lift.run(now, now, JSON.stringify(ids));
      });
    },
  };
}
