/** What may be asked of the queue without changing it. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { QueueFilterValues, QueueListName, QueueRow } from "../model/lists/lists.ts";
import type { Page, Paged } from "../store/queue.ts";
import { type QueueQuestions, queueList } from "../store/queue-lists.ts";

/** The lists of the queue, page by page. */
export interface QueueLists {
  /** Errors: those of the store. */
  list<N extends QueueListName>(name: N, filter: QueueFilterValues<N>, page: Page): Paged<QueueRow<N>>;
}

export const makeQueueLists = (store: QueueQuestions, clock: Clock): QueueLists => ({
  list: (name, filter, page) => queueList(store, name, filter, page, epochSeconds(clock)),
});
