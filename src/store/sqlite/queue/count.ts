/** Counting: events of a batch into tallies, each event once. */
import { dmarcRowText, tlsDetailText, tlsPolicyText } from "../../../model/canonical.ts";
import type { DmarcEvaluation, FeedEvent, TlsSessions } from "../../../model/evaluation.ts";
import { outgoingId } from "../../../model/outgoing.ts";
import { coarserDmarc, coarserTls } from "../../../model/tally-merge.ts";
import type { CountedEvent, CountResult } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import { type CountTarget, keyOf } from "./count-target.ts";
import { makeMerger } from "./merge.ts";
import type { QueueTransaction } from "./transaction.ts";

/** How long (feed, id) is remembered, days. */
const ID_DAYS = 3;
const DAY = 86_400;
/** Open reports whose row numbers are remembered; some 20 MB at the most. */
const REMEMBERED_TARGETS = 50_000;

/** What one batch brings for one report. */
interface Gathered {
  readonly target: CountTarget;
  readonly rows: Map<string, number>;
  readonly policies: Map<string, { success: number; failure: number; details: Map<string, number> }>;
  messages: number;
  reportable: number;
  wanted: number;
  late: number;
}

export interface Counting {
  count(
    feed: string,
    events: readonly CountedEvent[],
    now: number,
    rejected: number,
    cursor: string | undefined,
  ): CountResult;
  /** How far a feed has been counted. */
  cursorOf(feed: string): string | undefined;
  /** Forgets what is remembered of a report that changed. */
  forget(id: string): void;
}

/** @param maxRows tallies of one report above which details are merged; asked with each batch, so that it may change */
export function makeCounting(
  database: Sqlite,
  transaction: QueueTransaction,
  maxRows: () => number,
): Counting {
  const sql = prepare(database);
  const merger = makeMerger(database, maxRows);
  const { counters } = transaction;
  const targets = new Map<string, CountTarget>();
  let oldestDay: number | undefined;
  transaction.onRollback(() => {
    targets.clear();
    oldestDay = undefined;
  });

  function targetOf(period: CountedEvent["period"], now: number, opened: string[]): CountTarget {
    const id = outgoingId(period.kind, period.policyDomain, period.policyHash, period.begin);
    let target = targets.get(id);
    if (target?.given === period.policy) return target;
    const policy = JSON.stringify(period.policy);
    if (!target) {
      const row = sql.find.get(id);
      if (row?.closed === 1) throw new TypeError(`${id} is closed: it counts no more`);
      target = row ? { ...row, id, given: null } : open(period, id, policy, now);
      if (!row) opened.push(id);
      if (targets.size >= REMEMBERED_TARGETS) targets.clear();
      targets.set(id, target);
    }
    if (target.policy !== policy) sql.setPolicy.run(policy, target.no);
    target.policy = policy;
    target.given = period.policy;
    return target;
  }

  function open(period: CountedEvent["period"], id: string, policy: string, now: number): CountTarget {
    const no = Number(sql.open.run({ ...period, id, policy, now }).lastInsertRowid);
    sql.openSum.run(no, maxRows());
    counters.add("outgoing.open", 1);
    return { no, id, policy, given: null, mergeStep: 0, rows: 0 };
  }

  /** Deletes ids that are older than three days, oldest first, about as fast as new ones come. */
  function forgetIds(today: number, most: number): void {
    oldestDay ??= sql.oldestId.get() ?? today;
    if (oldestDay >= today - ID_DAYS) return;
    sql.deleteIds.run(most, today - ID_DAYS);
    oldestDay = sql.oldestId.get() ?? today;
  }

  function countBatch(
    feed: string,
    events: readonly CountedEvent[],
    now: number,
    rejected: number,
    cursor: string | undefined,
  ): CountResult {
    const today = Math.floor(now / DAY);
    const opened: string[] = [];
    const batch = new Map<string, Gathered>();
    const gathered = new Map<CountedEvent["period"], Gathered>();
    let repeated = 0;
    for (const { event, period, late } of events) {
      if (event.id !== null && sql.addId.run(feed, event.id, today).changes === 0) {
        repeated++;
        continue;
      }
      let into = gathered.get(period);
      if (!into) {
        const target = targetOf(period, now, opened);
        into = batch.get(target.id) ?? emptyOf(target);
        batch.set(target.id, into);
        gathered.set(period, into);
      }
      gather(into, event, late);
    }
    for (const into of batch.values()) store(into);
    if (cursor !== undefined) sql.setCursor.run(feed, cursor, now);
    counters.add("feed.accepted", events.length);
    counters.add("feed.repeated", repeated);
    counters.add("feed.rejected", rejected);
    forgetIds(today, events.length * 2 + 100);
    return { counted: events.length - repeated, repeated, opened };
  }

  function store(into: Gathered): void {
    const { target } = into;
    let added = 0;
    for (const [text, n] of into.rows) added += sql.addTally(target.no, text, n);
    for (const [text, n] of into.policies) {
      const policy = keyOf(text);
      added += sql.addPolicy(target.no, policy, text, n.success, n.failure);
      for (const [detail, count] of n.details) added += sql.addDetail(target.no, policy, detail, count);
    }
    target.rows += added;
    if (target.mergeStep === 0 && target.rows > maxRows()) added += merger.merge(target);
    const { messages, reportable, wanted, late } = into;
    sql.sum.run(added, messages, reportable, wanted, late, target.mergeStep, target.no);
    counters.add("outgoing.tally", added);
    counters.add("outgoing.message", into.messages);
    counters.add("feed.late", into.late);
  }

  return {
    count: (feed, events, now, rejected, cursor) =>
      transaction.run(() => countBatch(feed, events, now, rejected, cursor)),
    cursorOf: (feed) => sql.cursor.get(feed),
    forget: (id) => void targets.delete(id),
  };
}

function emptyOf(target: CountTarget): Gathered {
  return {
    target,
    rows: new Map(),
    policies: new Map(),
    messages: 0,
    reportable: 0,
    wanted: 0,
    late: 0,
  };
}

function gather(into: Gathered, event: FeedEvent, late: boolean): void {
  const n = event.kind === "dmarc" ? gatherDmarc(into, event) : gatherTls(into, event);
  into.messages += n;
  if (late) into.late += 1;
  if (event.optional) return;
  into.reportable += n;
  const spamThatPassed =
    event.kind === "dmarc" && event.spam && (event.row.dkimAligned || event.row.spfAligned);
  if (!spamThatPassed) into.wanted += n;
}

function gatherDmarc(into: Gathered, event: DmarcEvaluation): number {
  const text = dmarcRowText(coarserDmarc(event.row, into.target.mergeStep));
  into.rows.set(text, (into.rows.get(text) ?? 0) + event.count);
  return event.count;
}

function gatherTls(into: Gathered, event: TlsSessions): number {
  let sessions = 0;
  for (const { policy, success, failure, details } of event.policies) {
    const text = tlsPolicyText(policy);
    let sums = into.policies.get(text);
    if (!sums) {
      sums = { success: 0, failure: 0, details: new Map() };
      into.policies.set(text, sums);
    }
    sums.success += success;
    sums.failure += failure;
    sessions += success + failure;
    for (const each of details) {
      const detail = tlsDetailText(coarserTls(each.detail, into.target.mergeStep));
      sums.details.set(detail, (sums.details.get(detail) ?? 0) + each.count);
    }
  }
  return sessions;
}

function prepare(database: Sqlite) {
  const updateTally = database.prepare(
    `UPDATE tally_count SET count = count + ?
     WHERE tally = (SELECT no FROM tally WHERE outgoing = ? AND key = ?)`,
  );
  const insertTally = database.prepare("INSERT INTO tally (outgoing, key, row) VALUES (?, ?, ?)");
  const insertCount = database.prepare("INSERT INTO tally_count (tally, count) VALUES (?, ?)");
  const updatePolicy = database.prepare(
    `UPDATE tls_tally SET success = success + ?, failure = failure + ? WHERE outgoing = ? AND key = ?`,
  );
  const insertPolicy = database.prepare(
    "INSERT INTO tls_tally (outgoing, key, row, success, failure) VALUES (?, ?, ?, ?, ?)",
  );
  const updateDetail = database.prepare(
    "UPDATE tls_detail SET count = count + ? WHERE outgoing = ? AND policy = ? AND key = ?",
  );
  const insertDetail = database.prepare(
    "INSERT INTO tls_detail (outgoing, policy, key, row, count) VALUES (?, ?, ?, ?, ?)",
  );
  return {
    addId: database.prepare("INSERT OR IGNORE INTO event_id (feed, id, day) VALUES (?, ?, ?)"),
    setCursor: database.prepare(
      `INSERT INTO feed_cursor (feed, cursor, at) VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET cursor = excluded.cursor, at = excluded.at`,
    ),
    cursor: database.prepare<[string], string>("SELECT cursor FROM feed_cursor WHERE feed = ?").pluck(),
    oldestId: database.prepare<[], number>("SELECT day FROM event_id ORDER BY no LIMIT 1").pluck(),
    deleteIds: database.prepare(
      "DELETE FROM event_id WHERE no IN (SELECT no FROM event_id ORDER BY no LIMIT ?) AND day < ?",
    ),
    find: database.prepare<[string], Omit<CountTarget, "id" | "given"> & { closed: number }>(
      `SELECT no, policy, rows, closed, merge_step AS mergeStep
       FROM outgoing JOIN outgoing_sum ON outgoing = no WHERE id = ?`,
    ),
    open: database.prepare(
      `INSERT INTO outgoing (id, kind, domain, policy_hash, begin, end, due, state, policy, created_at)
       VALUES (@id, @kind, @policyDomain, @policyHash, @begin, @end, @due, 'open', @policy, @now)`,
    ),
    openSum: database.prepare("INSERT INTO outgoing_sum (outgoing, merge_at) VALUES (?, ?)"),
    setPolicy: database.prepare("UPDATE outgoing SET policy = ? WHERE no = ?"),
    sum: database.prepare(
      `UPDATE outgoing_sum SET rows = rows + ?, messages = messages + ?, reportable = reportable + ?,
         wanted = wanted + ?, late_events = late_events + ?, merge_step = ? WHERE outgoing = ?`,
    ),
    /** Each returns 1 when a tally began, 0 when one grew. */
    addTally(no: number, text: string, count: number): number {
      const key = keyOf(text);
      if (updateTally.run(count, no, key).changes === 1) return 0;
      return insertCount.run(insertTally.run(no, key, text).lastInsertRowid, count).changes;
    },
    addPolicy(no: number, key: Buffer, text: string, success: number, failure: number): number {
      if (updatePolicy.run(success, failure, no, key).changes === 1) return 0;
      return insertPolicy.run(no, key, text, success, failure).changes;
    },
    addDetail(no: number, policy: Buffer, text: string, count: number): number {
      const key = keyOf(text);
      if (updateDetail.run(count, no, policy, key).changes === 1) return 0;
      return insertDetail.run(no, policy, key, text, count).changes;
    },
  };
}
