/** Brings outgoing reports back: a period that was cut short, a report that was dropped. */
import { MailreportError } from "../../../lib/errors.ts";
import type { Sqlite } from "../open.ts";
import { KEPT, type OutgoingRow, SELECT } from "./outgoing-row.ts";
import { makeTallyMerge } from "./tallies.ts";
import type { QueueTransaction } from "./transaction.ts";

/** What a report becomes. */
export interface Restoration {
  readonly end: number;
  readonly due: number;
  /** 1: it counts no more. */
  readonly closed: 0 | 1;
  /** The report that was opened meanwhile and becomes a part of it. */
  readonly merged: OutgoingRow | undefined;
}

export interface Restorer {
  /** What becomes of a report that was cut or dropped. */
  plan(row: OutgoingRow, now: number): Restoration;
  /** Carries it out, within a transaction; state and counters of the report itself are the caller's. */
  restore(row: OutgoingRow, restoration: Restoration): void;
  /** Errors: `outgoing.no_such_report`, `outgoing.not_dropped`, `outgoing.not_kept`. */
  dropped(id: string): OutgoingRow;
}

/** @param changed called with the id of a report that counts no more, or that is another one now */
export function makeRestorer(
  database: Sqlite,
  { counters }: QueueTransaction,
  changed: (id: string) => void,
): Restorer {
  const one = database.prepare<[string], OutgoingRow>(`${SELECT} WHERE id = ?`);
  const successor = database.prepare<
    [OutgoingRow["kind"], string, string, number, number, number],
    OutgoingRow
  >(
    `${SELECT} WHERE kind = ? AND domain = ? AND policy_hash = ? AND end >= ? AND begin > ? AND begin <= ?
     ORDER BY begin LIMIT 1`,
  );
  const widen = database.prepare(
    "UPDATE outgoing SET end = @end, due = @due, closed = @closed, full_end = @fullEnd, full_due = @fullDue WHERE no = @no",
  );
  const addSums = database.prepare(
    `UPDATE outgoing_sum SET messages = messages + @messages, reportable = reportable + @reportable,
       wanted = wanted + @wanted, late_events = late_events + @late_events, merge_step = max(merge_step, @merge_step)
     WHERE outgoing = @into`,
  );
  const countRows = database.prepare(
    `UPDATE outgoing_sum SET rows = (SELECT count(*) FROM tally WHERE outgoing = @no)
       + (SELECT count(*) FROM tls_tally WHERE outgoing = @no)
       + (SELECT count(*) FROM tls_detail WHERE outgoing = @no) WHERE outgoing = @no RETURNING rows`,
  );
  const remove = database.prepare("DELETE FROM outgoing WHERE no = ?");
  const mergeTallies = makeTallyMerge(database);

  /** Puts the tallies of `from` into `into`, and `from` is gone. */
  function absorb(into: OutgoingRow, from: OutgoingRow): void {
    mergeTallies(from.no, into.no);
    addSums.run({ ...sumsOf(from), into: into.no });
    const { rows } = countRows.get({ no: into.no }) as { rows: number };
    remove.run(from.no);
    counters.add(`outgoing.${from.state}`, -1);
    // what was equal in both is one row now
    counters.add("outgoing.tally", rows - into.rows - from.rows);
    changed(from.id);
  }

  return {
    plan(row, now) {
      const { kind, domain, policy_hash, begin, full_end, full_due } = row;
      const end = full_end ?? row.end;
      const due = full_due ?? row.due;
      const open = { end, due, closed: end < now ? 1 : 0, merged: undefined } as const;
      if (full_end === null) return open;
      const next = successor.get(kind, domain, policy_hash, begin, begin, full_end);
      if (!next) return open;
      const waits = next.state === "open" || next.state === "held";
      if (waits && next.closed === 0 && next.begin === row.end + 1 && next.end === full_end)
        return { ...open, merged: next };
      // the rest of the period has a report of its own, composed, dropped or closed: this one ends where it was cut
      return { end: row.end, due, closed: 1, merged: undefined };
    },
    restore(row, { end, due, closed, merged }) {
      const cut = row.full_end !== null && end !== row.full_end;
      widen.run({
        no: row.no,
        end,
        due,
        closed,
        fullEnd: cut ? row.full_end : null,
        fullDue: cut ? row.full_due : null,
      });
      if (merged) absorb(row, merged);
      changed(row.id);
    },
    dropped(id) {
      const row = one.get(id);
      if (!row) throw new MailreportError("outgoing.no_such_report", { detail: id });
      if (row.state !== "dropped")
        throw new MailreportError("outgoing.not_dropped", { detail: `${id} is ${row.state}` });
      if (row.tallies_kept !== KEPT) throw new MailreportError("outgoing.not_kept", { detail: id });
      return row;
    },
  };
}

function sumsOf({ messages, reportable, wanted, late_events, merge_step }: OutgoingRow) {
  return { messages, reportable, wanted, late_events, merge_step };
}
