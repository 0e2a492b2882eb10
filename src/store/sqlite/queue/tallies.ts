/** The tallies of one report: read in their stable order, merged into another report, deleted in slices. */
import { errorText, MailreportError } from "../../../lib/errors.ts";
import { dmarcRowOf, tlsDetailOf, tlsPolicyOf } from "../../../model/canonical.ts";
import type { OutgoingKind, TallyRow, TallyRows } from "../../../model/outgoing.ts";
import type { Sqlite } from "../open.ts";

type DmarcTally = Extract<TallyRow, { kind: "dmarc" }>;

/** DMARC rows as stored, decoded as they are iterated: 100,000 of them are some 30 MB of text, but 120 MB of objects. */
class DmarcRows implements TallyRows<DmarcTally> {
  readonly #texts: readonly string[];
  readonly #counts: readonly number[];

  constructor(texts: readonly string[], counts: readonly number[]) {
    this.#texts = texts;
    this.#counts = counts;
  }

  get length(): number {
    return this.#texts.length;
  }

  slice(begin: number, end: number): DmarcRows {
    return new DmarcRows(this.#texts.slice(begin, end), this.#counts.slice(begin, end));
  }

  *[Symbol.iterator](): Iterator<DmarcTally> {
    for (const [i, text] of this.#texts.entries())
      yield { kind: "dmarc", row: decoded(dmarcRowOf, text), count: this.#counts[i]! };
  }
}

/** What a stored text says. Errors: `store.corrupt` when `decode` cannot read it. */
function decoded<T>(decode: (text: string) => T, text: string): T {
  try {
    return decode(text);
  } catch (cause) {
    throw new MailreportError("store.corrupt", { detail: `queue: a tally: ${errorText(cause)}`, cause });
  }
}

/** Reads the tallies of report number `no`, ordered by canonical text. */
export function makeTallyRead(database: Sqlite): (no: number, kind: OutgoingKind) => TallyRows {
  const dmarc = database
    .prepare<[number], [string, number]>(
      "SELECT row, count FROM tally JOIN tally_count ON tally = no WHERE outgoing = ? ORDER BY row",
    )
    .raw();
  const tls = database.prepare<[number], { key: Buffer; row: string; success: number; failure: number }>(
    "SELECT key, row, success, failure FROM tls_tally WHERE outgoing = ? ORDER BY row",
  );
  const details = database.prepare<[number, Buffer], { row: string; count: number }>(
    "SELECT row, count FROM tls_detail WHERE outgoing = ? AND policy = ? ORDER BY row",
  );
  return (no, kind) => {
    if (kind === "dmarc") {
      const texts: string[] = [];
      const counts: number[] = [];
      for (const [text, count] of dmarc.iterate(no)) {
        texts.push(text);
        counts.push(count);
      }
      return new DmarcRows(texts, counts);
    }
    return tls.all(no).map(({ key, row, success, failure }) => ({
      kind: "tls" as const,
      policy: decoded(tlsPolicyOf, row),
      success,
      failure,
      details: details
        .all(no, key)
        .map((each) => ({ detail: decoded(tlsDetailOf, each.row), count: each.count })),
    }));
  };
}

/**
 * Reads some tallies of report number `no` without sorting all of them: those with the lowest keys, ordered by canonical
 * text. A tally and a failure detail count one each towards `limit`; `total` is the number of tallies.
 */
export function makeSomeTallies(
  database: Sqlite,
): (no: number, kind: OutgoingKind, limit: number) => { readonly rows: TallyRow[]; readonly total: number } {
  const total = {
    dmarc: database.prepare<[number], number>("SELECT count(*) FROM tally WHERE outgoing = ?").pluck(),
    tls: database.prepare<[number], number>("SELECT count(*) FROM tls_tally WHERE outgoing = ?").pluck(),
  };
  const dmarc = database.prepare<[number, number], { row: string; count: number }>(
    `SELECT row, count FROM (SELECT no, row FROM tally WHERE outgoing = ? ORDER BY key LIMIT ?)
     JOIN tally_count ON tally = no ORDER BY row`,
  );
  const tls = database.prepare<
    [number, number],
    { key: Buffer; row: string; success: number; failure: number }
  >(
    `SELECT * FROM (SELECT key, row, success, failure FROM tls_tally WHERE outgoing = ? ORDER BY key LIMIT ?)
     ORDER BY row`,
  );
  const details = database.prepare<[number, Buffer, number], { row: string; count: number }>(
    `SELECT * FROM (SELECT row, count FROM tls_detail WHERE outgoing = ? AND policy = ? ORDER BY key LIMIT ?)
     ORDER BY row`,
  );

  function sessions(no: number, limit: number): TallyRow[] {
    const found = tls.all(no, limit);
    let left = limit - found.length;
    return found.map(({ key, row, success, failure }) => {
      const own = details.all(no, key, left);
      left -= own.length;
      const rows = own.map((each) => ({ detail: decoded(tlsDetailOf, each.row), count: each.count }));
      return { kind: "tls", policy: decoded(tlsPolicyOf, row), success, failure, details: rows };
    });
  }

  return (no, kind, limit) => ({
    rows:
      kind === "dmarc"
        ? dmarc.all(no, limit).map(({ row, count }) => ({ kind, row: decoded(dmarcRowOf, row), count }))
        : sessions(no, limit),
    total: total[kind].get(no)!,
  });
}

/** Moves all tallies of report `from` to report `into`; equal ones are added up. Within a transaction. */
export function makeTallyMerge(database: Sqlite): (from: number, into: number) => void {
  const steps = [
    `UPDATE tally_count SET count = count + (
       SELECT other.count FROM tally mine JOIN tally theirs ON theirs.outgoing = @from AND theirs.key = mine.key
       JOIN tally_count other ON other.tally = theirs.no WHERE mine.no = tally_count.tally)
     WHERE tally IN (SELECT mine.no FROM tally theirs JOIN tally mine ON mine.outgoing = @into AND mine.key = theirs.key
       WHERE theirs.outgoing = @from)`,
    `DELETE FROM tally_count WHERE tally IN (SELECT theirs.no FROM tally theirs
       JOIN tally mine ON mine.outgoing = @into AND mine.key = theirs.key WHERE theirs.outgoing = @from)`,
    `DELETE FROM tally WHERE outgoing = @from AND key IN (SELECT key FROM tally WHERE outgoing = @into)`,
    "UPDATE tally SET outgoing = @into WHERE outgoing = @from",
    `INSERT INTO tls_tally (outgoing, key, row, success, failure)
       SELECT @into, key, row, success, failure FROM tls_tally WHERE outgoing = @from
       ON CONFLICT DO UPDATE SET success = success + excluded.success, failure = failure + excluded.failure`,
    `INSERT INTO tls_detail (outgoing, policy, key, row, count)
       SELECT @into, policy, key, row, count FROM tls_detail WHERE outgoing = @from
       ON CONFLICT DO UPDATE SET count = count + excluded.count`,
    "DELETE FROM tls_tally WHERE outgoing = @from",
    "DELETE FROM tls_detail WHERE outgoing = @from",
  ].map((text) => database.prepare(text));
  return (from, into) => {
    for (const step of steps) step.run(from === into ? impossible() : { from, into });
  };
}

function impossible(): never {
  throw new TypeError("a report cannot be merged into itself");
}

/** Keys read in one step while the row numbers of a report are gathered. */
const GATHERED = 5000;
/** Row numbers of one bucket: they lie in some 20 neighbouring pages. */
const BUCKET = 256;

/** Row numbers of a report by where they lie. There are too many to sort them at once. */
class RowNumbers {
  readonly #buckets = new Map<number, number[]>();

  add(no: number): void {
    const key = Math.floor(no / BUCKET);
    const bucket = this.#buckets.get(key);
    if (bucket) bucket.push(no);
    else this.#buckets.set(key, [no]);
  }

  /** Takes whole buckets out until there are `limit` numbers or more; empty when none is left. */
  take(limit: number): number[] {
    const taken: number[] = [];
    for (const [key, bucket] of this.#buckets) {
      if (taken.length >= limit) break;
      taken.push(...bucket);
      this.#buckets.delete(key);
    }
    return taken;
  }
}

/**
 * Deletes the tallies of report `no`, about `limit` a call; 0 when none is left. Within a transaction. Their row
 * numbers are gathered first, some thousands a call, and neighbours are deleted together: a slice of 250 then changes
 * 20 pages of rows in place of 250.
 */
export function makeTallyDelete(database: Sqlite): (no: number, limit: number) => number {
  const keys = database
    .prepare<[number, Buffer, number], [number, Buffer]>(
      "SELECT no, key FROM tally WHERE outgoing = ? AND key > ? ORDER BY key LIMIT ?",
    )
    .raw();
  const few = database.prepare<[number, number], number>("SELECT no FROM tally WHERE outgoing = ? LIMIT ?");
  const count = database.prepare("DELETE FROM tally_count WHERE tally = ?");
  const tally = database.prepare("DELETE FROM tally WHERE no = ?");
  const details = database.prepare(
    `DELETE FROM tls_detail WHERE outgoing = @no AND (policy, key) IN
       (SELECT policy, key FROM tls_detail WHERE outgoing = @no LIMIT @limit)`,
  );
  const policies = database.prepare(
    `DELETE FROM tls_tally WHERE outgoing = @no AND key IN
       (SELECT key FROM tls_tally WHERE outgoing = @no LIMIT @limit)`,
  );
  let gathered: { readonly of: number; nos: RowNumbers; last: Buffer; complete: boolean } | undefined;

  function deleteRows(nos: readonly number[]): number {
    for (const each of nos) {
      count.run(each);
      tally.run(each);
    }
    return nos.length;
  }

  function deleteDmarc(no: number, limit: number): number {
    if (gathered?.of !== no) {
      const first = few.pluck().all(no, limit + 1);
      if (first.length <= limit) return deleteRows(first);
      gathered = { of: no, nos: new RowNumbers(), last: Buffer.alloc(0), complete: false };
    }
    if (!gathered.complete) {
      const page = keys.all(no, gathered.last, GATHERED);
      for (const [each] of page) gathered.nos.add(each);
      gathered.last = page.at(-1)?.[1] ?? gathered.last;
      gathered.complete = page.length < GATHERED;
      return page.length + 1;
    }
    const slice = gathered.nos.take(limit);
    if (slice.length === 0) gathered = undefined;
    return deleteRows(slice) + 1;
  }

  return (no, limit) =>
    details.run({ no, limit }).changes || policies.run({ no, limit }).changes || deleteDmarc(no, limit);
}
