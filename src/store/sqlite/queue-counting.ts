/** Counts events into the tallies of outgoing reports, a batch a transaction. */
import { createHash } from "node:crypto";
import { type OutgoingPolicy, outgoingId, type TallyRow } from "../../model/outgoing.ts";
import type { TlsDetailRow, TlsPolicyRow } from "../../model/evaluation.ts";
import type { CountedEvent, CountResult } from "../queue.ts";
import type { Sqlite } from "./open.ts";

const EVENT_MEMORY = 3 * 86_400;

interface OutgoingTotals {
  readonly n: number;
  rows: number;
  messages: number;
  reportable: number;
  wanted: number;
  late: number;
}

const keyOf = (row: string): Buffer => createHash("sha256").update(row).digest().subarray(0, 16);

export function makeCounting(database: Sqlite, count: (name: string, by: number) => void) {
  const seen = database.prepare("INSERT OR IGNORE INTO event (feed, id, at) VALUES (?, ?, ?)");
  const forget = database.prepare("DELETE FROM event WHERE at < ?");
  const find = database.prepare<[string], { n: number; state: string }>("SELECT n, state FROM outgoing WHERE id = ?");
  const open = database.prepare(
    `INSERT INTO outgoing (id, kind, policy_domain, policy_hash, "begin", "end", due, state, policy, created_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, 'open', ?, ?)`,
  );
  const refresh = database.prepare(
    `UPDATE outgoing SET policy = ?, rows = rows + ?, messages = messages + ?, reportable = reportable + ?,
       wanted = wanted + ?, late = late + ? WHERE n = ?`,
  );
  const bump = database.prepare("UPDATE tally SET count = count + ?, failures = failures + ? WHERE outgoing = ? AND key = ?");
  const add = database.prepare("INSERT INTO tally (outgoing, key, row, count, failures) VALUES (?, ?, ?, ?, ?)");
  const rows = database.prepare<[string], { row: string; count: number; failures: number }>(
    "SELECT row, tally.count, failures FROM tally JOIN outgoing ON outgoing = n WHERE id = ? ORDER BY key",
  );

  function tally(totals: OutgoingTotals, row: string, successes: number, failures: number): void {
    const key = keyOf(row);
    if (bump.run(successes, failures, totals.n, key).changes > 0) return;
    add.run(totals.n, key, row, successes, failures);
    totals.rows++;
    count("outgoing.tally", 1);
  }

  function countOne({ event, late }: CountedEvent, totals: OutgoingTotals): void {
    let messages: number;
    if (event.kind === "dmarc") {
      messages = event.count;
      tally(totals, JSON.stringify(["d", event.row]), messages, 0);
    } else {
      messages = 0;
      for (const { policy, success, failure, details } of event.policies) {
        messages += success + failure;
        tally(totals, JSON.stringify(["p", policy]), success, failure);
        for (const { detail, count: n } of details) tally(totals, JSON.stringify(["f", policy, detail]), 0, n);
      }
    }
    totals.messages += messages;
    if (!event.optional) totals.reportable += messages;
    const spamPass = event.kind === "dmarc" && event.spam && (event.row.dkimAligned || event.row.spfAligned);
    if (!event.optional && !spamPass) totals.wanted += messages;
    if (late) totals.late += messages;
  }

  return {
    /** Call it inside a transaction. */
    count(feed: string, events: readonly CountedEvent[], now: number): CountResult {
      const opened: string[] = [];
      const touched = new Map<string, { totals: OutgoingTotals; policy: OutgoingPolicy }>();
      let counted = 0;
      let repeated = 0;
      for (const counting of events) {
        const { event, period } = counting;
        if (event.id !== null && seen.run(feed, event.id, now).changes === 0) {
          repeated++;
          continue;
        }
        const id = outgoingId(period.kind, period.policyDomain, period.policyHash, period.begin);
        let entry = touched.get(id);
        if (!entry) {
          let n = find.get(id)?.n;
          if (n === undefined) {
            const { kind, policyDomain, policyHash, begin, end, due } = period;
            n = Number(open.run(id, kind, policyDomain, policyHash, begin, end, due, JSON.stringify(period.policy), now).lastInsertRowid);
            opened.push(id);
            count("outgoing.open", 1);
          }
          entry = { totals: { n, rows: 0, messages: 0, reportable: 0, wanted: 0, late: 0 }, policy: period.policy };
          touched.set(id, entry);
        }
        entry.policy = period.policy;
        countOne(counting, entry.totals);
        counted++;
      }
      for (const { totals: t, policy } of touched.values()) {
        refresh.run(JSON.stringify(policy), t.rows, t.messages, t.reportable, t.wanted, t.late, t.n);
      }
      if (counted > 0) forget.run(now - EVENT_MEMORY);
      count("feed.accepted", counted);
      count("feed.repeated", repeated);
      return { counted, repeated, opened };
    },

    /** The rows of an outgoing report, TLS details with their policies, in a stable order. */
    rows(id: string): TallyRow[] {
      const dmarc: TallyRow[] = [];
      const policies = new Map<string, Extract<TallyRow, { kind: "tls" }>>();
      const details: [string, TlsDetailRow, number][] = [];
      for (const { row, count: n, failures } of rows.all(id)) {
        const [kind, first, second] = JSON.parse(row) as [string, unknown, unknown];
        if (kind === "d") dmarc.push({ kind: "dmarc", row: first as Extract<TallyRow, { kind: "dmarc" }>["row"], count: n });
        else if (kind === "p") {
          policies.set(JSON.stringify(first), { kind: "tls", policy: first as TlsPolicyRow, success: n, failure: failures, details: [] });
        } else details.push([JSON.stringify(first), second as TlsDetailRow, failures]);
      }
      for (const [key, detail, n] of details) {
        const policy = policies.get(key);
        if (policy) policies.set(key, { ...policy, details: [...policy.details, { detail, count: n }] });
      }
      return [...dmarc, ...policies.values()];
    },
  };
}
