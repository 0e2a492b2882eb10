/** What operators do to many envelopes at once: schedule, hold, release, remove. */
import type { ChangeResult, EnvelopeSelection, EnvelopeState } from "../../../model/queue.ts";
import type { QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import type { Conditions } from "./select.ts";
import type { QueueTransaction } from "./transaction.ts";

/** Skipped envelopes that are named one by one. */
const NAMED = 100;
/** Seconds that an attempt may take, and more. */
const ATTEMPT_ROOM = 3600;

type ConditionsOf = (selection: EnvelopeSelection, activeByDefault: boolean) => Conditions;

export function changeEnvelopes(
  database: Sqlite,
  transaction: QueueTransaction,
  conditionsOf: ConditionsOf,
): Pick<QueueStore, "scheduleEnvelopes" | "holdEnvelopes" | "removeEnvelopes"> {
  const { counters } = transaction;
  const from = "FROM envelope JOIN message ON message.id = message";

  /** Sets `assignment` on what is selected and in one of the states `may`; the rest is skipped by its state. */
  function change(
    selection: EnvelopeSelection,
    may: readonly EnvelopeState[],
    assignment: string,
    values: readonly number[],
  ): { readonly result: ChangeResult; readonly of: ReadonlyMap<EnvelopeState, number> } {
    // ids that were typed are answered one by one, settled or not
    const selected = (): Conditions => conditionsOf(selection, selection.ids === undefined);
    const able = selected().oneOf("state", may);
    const counts = database
      .prepare(`SELECT state, count(*) AS n ${from} ${selected()} GROUP BY state`)
      .all(...selected().values) as { state: EnvelopeState; n: number }[];
    const words = may.map((state) => `'${state}'`).join(", ");
    const unable = selected().add(`state NOT IN (${words})`);
    const skipped = database
      .prepare(
        `SELECT envelope.id AS id, state AS code ${from} ${unable} ORDER BY envelope.id LIMIT ${NAMED}`,
      )
      .all(...unable.values) as { id: string; code: string }[];
    database
      .prepare(`UPDATE envelope SET ${assignment} WHERE id IN (SELECT envelope.id ${from} ${able})`)
      .run(...values, ...able.values);
    const of = new Map(counts.filter(({ state }) => may.includes(state)).map(({ state, n }) => [state, n]));
    const changed = [...of.values()].reduce((sum, n) => sum + n, 0);
    const matched = counts.reduce((sum, { n }) => sum + n, 0);
    return { result: { matched, changed, skipped }, of };
  }

  return {
    scheduleEnvelopes: (selection, at) =>
      transaction.run(() => {
        // an envelope near its end gets the time for this attempt
        const assignment = "state = 'pending', next_at = ?, expires_at = max(expires_at, ?)";
        const { result, of } = change(selection, ["pending", "held"], assignment, [at, at + ATTEMPT_ROOM]);
        counters.add("queue.envelope.held", -(of.get("held") ?? 0));
        counters.add("queue.envelope.pending", of.get("held") ?? 0);
        return result;
      }),
    holdEnvelopes: (selection, held) =>
      transaction.run(() => {
        const [was, is] = held ? (["pending", "held"] as const) : (["held", "pending"] as const);
        const { result } = change(selection, [was], `state = '${is}'`, []);
        counters.add(`queue.envelope.${was}`, -result.changed);
        counters.add(`queue.envelope.${is}`, result.changed);
        return result;
      }),
    removeEnvelopes: (selection, now) =>
      transaction.run(() => {
        const { result, of } = change(selection, ["pending", "held"], "state = 'removed', settled_at = ?", [
          now,
        ]);
        for (const [state, n] of of) counters.add(`queue.envelope.${state}`, -n);
        counters.add("queue.removed", result.changed);
        return result;
      }),
  };
}
