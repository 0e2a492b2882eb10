/** What may be asked of the queue without changing it. */
import type { QueueStore } from "../store/queue.ts";

/** The lists of the queue, page by page. */
export type QueueLists = Pick<QueueStore, "listEnvelopes" | "listOutgoing">;
