/** queue.db: tallies, outgoing reports, messages, envelopes. Written by the main thread alone. */
import type { QueueStore } from "../../queue.ts";
import { type MigrationSteps, migrate } from "../migrate.ts";
import { guarded, guardedMethods, openDatabase } from "../open.ts";
import { makeSpace } from "../space.ts";
import { makeCounting } from "./count.ts";
import { makeEnvelopes } from "./envelopes.ts";
import { makeFinishedCount } from "./finished.ts";
import { makeJobs } from "./jobs.ts";
import { makeOutgoing } from "./outgoing.ts";
import { QUEUE_MIGRATIONS } from "./schema.ts";
import { makeSteering } from "./steering.ts";
import { makeSuppressions, makeSuppressionWrites } from "./suppressions.ts";
import { makeQueueTransaction } from "./transaction.ts";

export interface QueueOptions {
  /** Tallies of one report; above, the smallest are merged (`report.max_rows`). Asked with each batch. */
  readonly maxRows?: () => number;
  /** Called before the schema of a queue that exists is migrated, which may take minutes. */
  readonly onMigrate?: (steps: MigrationSteps) => void;
}

const MAX_ROWS = 10_000;

const CACHE_KIB = 65_536;

/**
 * Opens the queue at `path`, made when it is not there.
 * Errors: those of `openDatabase`; `store.newer_schema`. Of all methods: those that `guarded` makes of SQLite's.
 */
export function openQueueStore(path: string, options: QueueOptions = {}): QueueStore {
  const database = openDatabase(path, { cacheKiB: CACHE_KIB });
  try {
    return guarded(() => guardedMethods(build(database, options), "queue"), "queue");
  } catch (error) {
    database.close();
    throw error;
  }
}

function build(database: ReturnType<typeof openDatabase>, options: QueueOptions): QueueStore {
  migrate(database, QUEUE_MIGRATIONS, (steps) => {
    if (steps.from > 0) options.onMigrate?.(steps);
  });
  const transaction = makeQueueTransaction(database);
  const counting = makeCounting(database, transaction, options.maxRows ?? (() => MAX_ROWS));
  const suppressionWrites = makeSuppressionWrites(database);
  const { insertMessage, ...envelopes } = makeEnvelopes(database, transaction, suppressionWrites);
  const outgoing = makeOutgoing(database, transaction, counting.forget, insertMessage);
  return {
    count: (feed, events, now, rejected = 0, cursor) => counting.count(feed, events, now, rejected, cursor),
    feedCursor: (feed) => counting.cursorOf(feed),
    ...outgoing,
    ...envelopes,
    ...makeFinishedCount(database),
    ...makeSteering(database, transaction),
    ...makeJobs(database, transaction),
    ...makeSuppressions(database, transaction, suppressionWrites),
    stats: () => transaction.counters.all(),
    vacuum: makeSpace(database, () => performance.now()).giveBack,
    checkpoint: () => void database.pragma("wal_checkpoint(PASSIVE)"),
    close: () => void database.close(),
  };
}
