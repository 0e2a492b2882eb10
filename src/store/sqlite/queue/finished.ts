/** What retention would delete from queue.db; the same conditions as those of the deletions. */
import type { QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";

export function makeFinishedCount(database: Sqlite): Pick<QueueStore, "countFinished"> {
  const envelopes = database
    .prepare<[number], number>("SELECT count(*) FROM envelope WHERE settled_at < ?")
    .pluck();
  const reports = database
    .prepare<[number], number>("SELECT count(*) FROM outgoing WHERE settled_at < ? AND tallies_kept = 0")
    .pluck();
  return {
    countFinished: (before, closedBefore) => ({
      envelopes: envelopes.get(before) ?? 0,
      reports: reports.get(closedBefore) ?? 0,
    }),
  };
}
