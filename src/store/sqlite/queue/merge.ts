/** Keeps a report within its greatest number of rows by leaving details out; no count is ever lost. */
import { dmarcRowOf, dmarcRowText, tlsDetailOf, tlsDetailText } from "../../../model/canonical.ts";
import { COARSEST, type Counted, mergeDmarc, mergeTls } from "../../../model/tally-merge.ts";
import type { Sqlite } from "../open.ts";
import { type CountTarget, keyOf } from "./count-target.ts";

/** A merge makes this much room, so that the next one is not due with the next row. */
const ROOM = 0.9;

export interface Merger {
  /** Merges the tallies of a report; returns how their number changed (0 or less), and notes it in `target`. */
  merge(target: CountTarget): number;
}

interface TallyText {
  readonly row: string;
  readonly count: number;
}

export function makeMerger(database: Sqlite, maxRows: () => number): Merger {
  const tallies = database.prepare<[number], TallyText>(
    "SELECT row, count FROM tally JOIN tally_count ON tally = no WHERE outgoing = ?",
  );
  const findTally = database
    .prepare<[number, Buffer], number>("SELECT no FROM tally WHERE outgoing = ? AND key = ?")
    .pluck();
  const deleteTally = database.prepare("DELETE FROM tally WHERE no = ?");
  const deleteCount = database.prepare("DELETE FROM tally_count WHERE tally = ?");
  const addTally = database.prepare("INSERT INTO tally (outgoing, key, row) VALUES (?, ?, ?)");
  const putCount = database.prepare("INSERT OR REPLACE INTO tally_count (tally, count) VALUES (?, ?)");
  const policies = database
    .prepare<[number], Buffer>("SELECT DISTINCT policy FROM tls_detail WHERE outgoing = ?")
    .pluck();
  const details = database.prepare<[number, Buffer], TallyText>(
    "SELECT row, count FROM tls_detail WHERE outgoing = ? AND policy = ?",
  );
  const deleteDetail = database.prepare(
    "DELETE FROM tls_detail WHERE outgoing = ? AND policy = ? AND key = ?",
  );
  const putDetail = database.prepare(
    "INSERT OR REPLACE INTO tls_detail (outgoing, policy, key, row, count) VALUES (?, ?, ?, ?, ?)",
  );

  function mergeDmarcRows(no: number, target: number) {
    const before = tallies.all(no);
    const { rows, exhausted } = mergeDmarc(before.map(decode(dmarcRowOf)), target);
    rewrite(before, rows.map(encode(dmarcRowText)), {
      remove(text) {
        const tally = findTally.get(no, keyOf(text));
        deleteTally.run(tally);
        deleteCount.run(tally);
      },
      put(text, count) {
        const key = keyOf(text);
        putCount.run(findTally.get(no, key) ?? addTally.run(no, key, text).lastInsertRowid, count);
      },
    });
    return { change: rows.length - before.length, exhausted };
  }

  function mergeTlsDetails(no: number, policy: Buffer, target: number) {
    const before = details.all(no, policy);
    const { rows, exhausted } = mergeTls(before.map(decode(tlsDetailOf)), target);
    rewrite(before, rows.map(encode(tlsDetailText)), {
      remove: (text) => void deleteDetail.run(no, policy, keyOf(text)),
      put: (text, count) => void putDetail.run(no, policy, keyOf(text), text, count),
    });
    return { change: rows.length - before.length, exhausted };
  }

  return {
    merge(target) {
      const goal = Math.floor(maxRows() * ROOM);
      const tls = policies.all(target.no);
      const results =
        tls.length > 0
          ? tls.map((policy) => mergeTlsDetails(target.no, policy, Math.floor(goal / tls.length)))
          : [mergeDmarcRows(target.no, goal)];
      const change = results.reduce((sum, each) => sum + each.change, 0);
      target.rows += change;
      if (target.rows > goal && results.some((each) => each.exhausted)) {
        // nothing more can be left out; from now on rows are as coarse from the start
        target.mergeStep = COARSEST;
      }
      return change;
    },
  };
}

function decode<T>(rowOf: (text: string) => T): (stored: TallyText) => Counted<T> {
  return ({ row, count }) => ({ row: rowOf(row), count });
}

function encode<T>(textOf: (row: T) => string): (counted: Counted<T>) => TallyText {
  return ({ row, count }) => ({ row: textOf(row), count });
}

/** Touches only what differs. */
function rewrite(
  before: readonly TallyText[],
  after: readonly TallyText[],
  to: { remove(text: string): void; put(text: string, count: number): void },
): void {
  const old = new Map(before.map((each) => [each.row, each.count]));
  for (const { row, count } of after) {
    if (old.get(row) !== count) to.put(row, count);
    old.delete(row);
  }
  for (const row of old.keys()) to.remove(row);
}
