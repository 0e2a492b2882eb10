/** Day sums and running counters of the archive: changed in the same transaction as what they count. */
import { DAY, isPass, spreadOverDays } from "../../../model/figures.ts";
import type { StagedContent } from "../../../model/staged.ts";
import type { Sqlite } from "../open.ts";
import type { Interner } from "./intern.ts";

/** Messages by packed evaluation, of one report. */
type Evaluations = ReadonlyMap<number, number>;

/** Sessions of one policy domain, of one report. */
interface Sessions {
  readonly domainId: number;
  readonly successes: number;
  readonly failures: number;
}

// What a report adds is stored with it, as text, so that it can be subtracted when its records have expired.

function evaluationsText(evaluations: Evaluations): string {
  return [...evaluations].map((pair) => pair.join(":")).join(",");
}

/** The inverse of `evaluationsText`. */
function readEvaluations(text: string | null): Evaluations {
  return new Map(numbersOf(text) as [number, number][]);
}

function sessionsText(sessions: readonly Sessions[]): string {
  return sessions.map((s) => `${s.domainId}:${s.successes}:${s.failures}`).join(",");
}

/** The inverse of `sessionsText`. */
function readSessions(text: string | null): Sessions[] {
  return numbersOf(text).map(([domainId = 0, successes = 0, failures = 0]) => ({
    domainId,
    successes,
    failures,
  }));
}

function numbersOf(text: string | null): number[][] {
  return (text ?? "")
    .split(",")
    .filter((group) => group !== "")
    .map((group) => group.split(":").map(Number));
}

/**
 * What a report adds to the sums, as text; null when it has no part in them.
 * @param month of the report, as its domains note it
 */
export function sumsText(content: StagedContent, intern: Interner, month: number): string | null {
  if (content.kind === "dmarc") return evaluationsText(new Map(content.records.evaluations));
  if (content.kind !== "tls") return null;
  const sessions = content.policies.flatMap(({ policyDomain, successes, failures }) =>
    policyDomain === null ? [] : [{ domainId: intern.domain(policyDomain, month), successes, failures }],
  );
  return sessionsText(sessions);
}

/** A report as the sums see it. */
export interface SummedReport {
  readonly kind: string;
  readonly orgId: number;
  /** The policy domain of a DMARC report. */
  readonly domainId: number | null;
  readonly begin: number;
  readonly end: number;
  /** As `sumsText` writes it. */
  readonly sums: string | null;
  /** How many records of it are stored. */
  readonly records: number;
}

export interface Sums {
  /**
   * Adds (sign 1) or subtracts (sign -1) a report, but for its part in days of which sums have expired: what is no longer
   * there cannot be subtracted.
   */
  add(report: SummedReport, sign: 1 | -1): void;
  count(name: string, by: number): void;
  /** The value of a counter, as stored. */
  counted(name: string): number;
  /** Writes what `count` collected; call it inside the transaction. */
  flush(): void;
  /** Sums of this day were deleted: days before its end are no longer changed. Call it inside the transaction. */
  expired(day: number): void;
  /** Forgets what was collected: the transaction was rolled back. */
  clear(): void;
}

/** The day before which sums have expired; it never goes back, whatever retention or the clock is set to. */
interface SumsBegin {
  /** Begin of the first day that is changed. */
  readonly day: number;
  expired(day: number): void;
  /** The transaction was rolled back. */
  undo(): void;
}

function makeSumsBegin(database: Sqlite): SumsBegin {
  const stored = database.prepare<[], number | null>("SELECT max(before) FROM sums_expired").pluck();
  const remove = database.prepare("DELETE FROM sums_expired");
  const insert = database.prepare("INSERT INTO sums_expired (before) VALUES (?)");
  const load = (): number => stored.get() ?? Number.MIN_SAFE_INTEGER;
  let first: number | undefined;
  return {
    get day() {
      first ??= load();
      return first;
    },
    expired(day) {
      if (day < this.day) return;
      first = day + DAY;
      remove.run();
      insert.run(first);
    },
    undo() {
      first = undefined;
    },
  };
}

export function makeSums(database: Sqlite): Sums {
  const daily = database.prepare(
    `INSERT INTO daily (domain_id, day, org_id, ev, messages) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET messages = messages + excluded.messages`,
  );
  const total = database.prepare(
    `INSERT INTO daily_total (domain_id, day, ev, messages) VALUES (?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET messages = messages + excluded.messages`,
  );
  const tlsDaily = database.prepare(
    `INSERT INTO tls_daily (domain_id, day, org_id, successes, failures) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET successes = successes + excluded.successes, failures = failures + excluded.failures`,
  );
  const add = database.prepare(
    "INSERT INTO counter (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
  );
  const value = database.prepare<[string], number>("SELECT value FROM counter WHERE name = ?").pluck();
  let gathered = new Map<string, number>();
  const count = (name: string, by: number): void => {
    if (by !== 0) gathered.set(name, (gathered.get(name) ?? 0) + by);
  };
  const sumsBegin = makeSumsBegin(database);
  /** What of a number belongs to days of which sums are stored. */
  const kept = (begin: number, end: number, n: number): [day: number, part: number][] =>
    spreadOverDays(begin, end, n).filter(([day]) => day >= sumsBegin.day);

  function addDmarc({ domainId, orgId, begin, end, sums, records }: SummedReport, sign: 1 | -1): void {
    let messages = 0;
    let pass = 0;
    for (const [ev, n] of readEvaluations(sums)) {
      for (const [day, part] of kept(begin, end, n)) {
        messages += part;
        if (isPass(ev)) pass += part;
        daily.run(domainId, day, orgId, ev, sign * part);
        total.run(domainId, day, ev, sign * part);
      }
    }
    count("archive.record", sign * records);
    count("archive.message", sign * messages);
    count("archive.message.pass", sign * pass);
  }

  function addSessions(
    { orgId, begin, end }: SummedReport,
    { domainId, successes, failures }: Sessions,
    sign: 1 | -1,
  ): void {
    const passed = new Map(kept(begin, end, successes));
    const failed = new Map(kept(begin, end, failures));
    for (const day of new Set([...passed.keys(), ...failed.keys()])) {
      const good = passed.get(day) ?? 0;
      const bad = failed.get(day) ?? 0;
      tlsDaily.run(domainId, day, orgId, sign * good, sign * bad);
      count("archive.tls.session", sign * (good + bad));
      count("archive.tls.failure", sign * bad);
    }
  }

  return {
    count,
    add(report, sign) {
      if (report.kind === "dmarc") addDmarc(report, sign);
      else if (report.kind === "tls")
        for (const sessions of readSessions(report.sums)) addSessions(report, sessions, sign);
    },
    counted: (name) => value.get(name) ?? 0,
    flush() {
      for (const [name, by] of gathered) add.run(name, by);
      gathered = new Map();
    },
    expired: (day) => sumsBegin.expired(day),
    clear() {
      gathered = new Map();
      sumsBegin.undo();
    },
  };
}
