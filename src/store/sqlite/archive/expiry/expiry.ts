/**
 * Deletes what has expired, in slices of some milliseconds. Everything expires by the time when it was received, whatever
 * period a report covers: an old report that is imported today is kept as long as one that came by mail today. Only day
 * sums expire by their day, and a report that is too old for them when it comes does not enter them (model/retention.ts).
 */
import type { RetentionPolicy } from "../../../../model/retention.ts";
import type { ExpirySlice } from "../../../archive/maintenance.ts";
import { guarded, type Sqlite } from "../../open.ts";
import type { DomainNotes } from "../domains.ts";
import type { Sums } from "../sums.ts";
import type { ArchiveTransaction } from "../transaction.ts";
import { makeFeedbackExpiry } from "./feedback.ts";
import { makeKeyExpiry } from "./keys.ts";
import { limitsOf } from "./limits.ts";
import { makeMailExpiry } from "./mails.ts";
import { makeNameExpiry } from "./names.ts";
import { makeRawExpiry } from "./raw.ts";
import { makeRecordExpiry } from "./records.ts";
import { runStages } from "./stage.ts";
import { makeSumExpiry } from "./sums.ts";

export interface ExpiryParts {
  readonly sums: Sums;
  readonly notes: Pick<DomainNotes, "forgotten">;
  readonly transaction: ArchiveTransaction;
  /** Deletes one report and subtracts it from the sums and counters. */
  readonly remove: (reportId: number) => void;
  /** Forgets cached ids of names. */
  readonly forgetNames: () => void;
  /** Milliseconds, monotonic. */
  readonly elapsed: () => number;
}

export interface Expiry {
  slice(now: number, policy: RetentionPolicy, rows: number): ExpirySlice;
  /** A transaction was rolled back. */
  undo(): void;
}

/** The parts call each other: `undo` of the result belongs to the hooks of `transaction`. */
export function makeExpiry(database: Sqlite, parts: ExpiryParts): Expiry {
  const { sums, transaction, elapsed } = parts;
  const daySums = makeSumExpiry(database, sums);
  const stages = [
    makeRawExpiry(database),
    makeRecordExpiry(database, sums, "dmarc"),
    makeRecordExpiry(database, sums, "tls"),
    makeFeedbackExpiry(database, parts.remove),
    makeMailExpiry(database, parts),
    daySums,
    makeKeyExpiry(database),
  ];
  const names = makeNameExpiry(database, parts.forgetNames);

  return {
    undo: daySums.undo,
    slice(now, policy, rows) {
      const limits = limitsOf(now, policy);
      const data = transaction.run(() => runStages(stages, limits, rows, elapsed));
      if (data.more || data.rows > 0) return { rows: data.rows, more: true };
      if (!guarded(() => names.pending(limits), "archive")) return data;
      return withoutForeignKeys(database, () =>
        transaction.run(() => runStages([names], limits, rows, elapsed)),
      );
    },
  };
}

/** Runs `work`, which makes a transaction, without checks of foreign keys. */
function withoutForeignKeys<T>(database: Sqlite, work: () => T): T {
  guarded(() => database.pragma("foreign_keys = OFF"), "archive");
  try {
    return work();
  } finally {
    database.pragma("foreign_keys = ON");
  }
}
