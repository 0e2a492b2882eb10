/** The lists of the queue: their rows, and the questions to the queue store that answer them. */
import type { QueueFilterValues, QueueListName, QueueRow } from "../model/lists/lists.ts";
import type { OutgoingReport } from "../model/outgoing.ts";
import { type Envelope, type EnvelopeSelection, isActive, type Suppression } from "../model/queue.ts";
import type { OutgoingSelection, Page, Paged, QueueStore } from "./queue.ts";

/** What the lists ask of the store. */
export type QueueQuestions = Pick<QueueStore, "listEnvelopes" | "listOutgoing" | "suppressions" | "pauses">;

/** Answers pages of one list; one that is loaded as a whole has one page. `now`: epoch seconds. */
export type QueueSource<N extends QueueListName> = (
  store: QueueQuestions,
  filter: QueueFilterValues<N>,
  page: Page,
  now: number,
) => Paged<QueueRow<N>>;

/** The source of each list of the queue. */
const SOURCES: { readonly [N in QueueListName]: QueueSource<N> } = {
  queue: (store, filter, page) => pageOf(store.listEnvelopes(envelopesOf(filter), page), envelopeRow),
  outgoing: (store, filter, page) => pageOf(store.listOutgoing(reportsOf(filter), page), outgoingRow),
  suppressions: (store, { all = false }, _page, now) =>
    whole(
      store
        .suppressions()
        .filter((entry) => all || isActive(entry, now))
        .map(suppressionRow),
    ),
  pauses: (store, { subsystem }) =>
    whole(
      store
        .pauses()
        .filter((pause) => subsystem === undefined || pause.subsystem === subsystem)
        .map(({ subsystem, destination, since, who, reason }) => ({
          subsystem,
          destination,
          since,
          who,
          reason,
        })),
    ),
};

/** A page of a list of the queue: rows with exactly its fields, times in epoch seconds. Errors: those of the store. */
export function queueList<N extends QueueListName>(
  store: QueueQuestions,
  name: N,
  filter: QueueFilterValues<N>,
  page: Page,
  now: number,
): Paged<QueueRow<N>> {
  return SOURCES[name](store, filter, page, now);
}

const pageOf = <T, R>({ items, next }: Paged<T>, toRow: (item: T) => R): Paged<R> => ({
  items: items.map(toRow),
  next,
});

const whole = <R>(items: readonly R[]): Paged<R> => ({ items, next: null });

function envelopesOf(filter: QueueFilterValues<"queue">): EnvelopeSelection {
  const { id, state, due_before, due_after, ...rest } = filter;
  return {
    ...rest,
    ...(id === undefined ? {} : { ids: [id] }),
    ...(state === undefined ? {} : { states: [state] }),
    ...(due_before === undefined ? {} : { dueBefore: due_before }),
    ...(due_after === undefined ? {} : { dueAfter: due_after }),
  };
}

function reportsOf({ state = "waiting", ...rest }: QueueFilterValues<"outgoing">): OutgoingSelection {
  if (state === "any") return rest;
  return { ...rest, states: state === "waiting" ? ["open", "held"] : [state] };
}

/** An envelope as a row. */
export function envelopeRow(e: Envelope): QueueRow<"queue"> {
  return {
    id: e.id,
    message_id: e.messageId,
    report_id: e.outgoingId,
    kind: e.kind,
    domain: e.policyDomain,
    agent: e.transport === "smtp" ? "mta" : "https",
    sender: e.sender,
    rcpt: e.rcpt,
    destination: e.destination,
    state: e.state,
    flags: e.state === "held" ? ["hold"] : [],
    created_at: e.createdAt,
    next_at: e.nextAt,
    expires_at: e.expiresAt,
    last_at: e.last?.at ?? null,
    attempts: e.attempts,
    last: e.last && {
      code: e.last.code,
      enhanced: e.last.enhanced,
      text: e.last.text,
      mx: e.last.host,
      ip: e.last.ip,
      tls: e.last.tls,
    },
    size: e.size,
  };
}

/** An outgoing report as a row. */
export function outgoingRow(r: OutgoingReport): QueueRow<"outgoing"> {
  return {
    id: r.id,
    kind: r.kind,
    domain: r.policyDomain,
    begin: r.begin,
    end: r.end,
    due: r.due,
    state: r.state,
    reason: r.dropReason,
    rows: r.rows,
    messages: r.messages,
    reportable: r.reportable,
    late: r.lateEvents,
    error: r.lastError,
    failures: r.failures,
    restorable: r.restorable,
    created_at: r.createdAt,
    dropped_at: r.droppedAt,
    composed_at: r.composedAt,
    message_ids: r.messageIds,
  };
}

/** A suppression as a row. */
export function suppressionRow(s: Suppression): QueueRow<"suppressions"> {
  return {
    target: s.target,
    until: s.until,
    author: s.author,
    reason: s.reason,
    created_at: s.createdAt,
    step: s.step,
  };
}
