/** Outgoing reports: look at one, and what operators change. Times are epoch seconds. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, logFailure } from "../lib/supervised.ts";
import type { OutgoingPolicy, OutgoingReport, TallyRow } from "../model/outgoing.ts";
import type { Explanation, OutgoingRequests, ReportChange, SendPlan } from "../report/requests.ts";
import type { QueueStore, RestoredReport } from "../store/queue.ts";
import type { Operation, Operations } from "./operation.ts";
import { scheduledTime } from "./times.ts";

/** Tallies of one report that are shown: they are loaded and decoded in some milliseconds. */
const SHOWN_TALLIES = 1000;

export interface OutgoingDetails {
  readonly report: OutgoingReport;
  readonly policy: OutgoingPolicy | undefined;
  /** The first tallies, or why they cannot be loaded. */
  readonly tallies:
    | { readonly ok: true; readonly rows: readonly TallyRow[]; readonly total: number }
    | { readonly ok: false; readonly error: MailreportError };
}

export interface SentReport {
  readonly id: string;
  /** Ids of the messages in the queue. */
  readonly messageIds: readonly string[];
}

/**
 * Reports are named by their id, or by a part of it that is unique. All members: `outgoing.no_such_report` for a name
 * that means none or several.
 */
export interface OutgoingService {
  details(typed: string): OutgoingDetails;
  /** The message that would be sent. Errors: `outgoing.not_open`. */
  preview(typed: string): Promise<Uint8Array>;
  explain(typed: string): Promise<Explanation>;
  /** Errors: `outgoing.nothing_to_send`, `outgoing.not_open`, `outgoing.composing`, those of composing. */
  readonly send: Operation<string, SentReport, SendPlan>;
  /** Errors: `outgoing.not_open`. */
  readonly cancel: Operation<string, OutgoingReport>;
  /** Errors: `outgoing.not_dropped`, `outgoing.not_kept`. */
  readonly undelete: Operation<string, RestoredReport>;
  readonly hold: Operation<string, ReportChange>;
  readonly release: Operation<string, ReportChange>;
  /** Errors: `request.invalid` for a time in the past. */
  readonly schedule: Operation<
    { readonly id: string; readonly at: number },
    ReportChange & { readonly at: number },
    ReportChange
  >;
}

export interface OutgoingOptions {
  readonly requests: OutgoingRequests;
  readonly store: Pick<QueueStore, "outgoingPolicy" | "someTallies">;
  readonly clock: Clock;
  readonly log: Log;
}

export function makeOutgoing(operations: Operations, options: OutgoingOptions): OutgoingService {
  const { requests, store, clock, log } = options;

  function talliesOf(id: string): OutgoingDetails["tallies"] {
    try {
      return { ok: true, ...store.someTallies(id, SHOWN_TALLIES) };
    } catch (error) {
      const failure = failureOf(error);
      logFailure({ log, unit: "loading tallies", fields: { id } }, failure);
      return { ok: false, error: failure.error };
    }
  }

  const steer = (name: string, held: boolean): OutgoingService["hold"] =>
    operations.declare({
      name,
      plan: (typed) => requests.planHold(typed, held),
      change: (typed) => requests.hold(typed, held),
      audited: ({ id, changed }) => (changed ? { id } : null),
      wakes: ["scheduler"],
    });

  return {
    details(typed) {
      const report = requests.find(typed);
      return { report, policy: store.outgoingPolicy(report.id), tallies: talliesOf(report.id) };
    },
    preview: (typed) => requests.preview(typed),
    explain: (typed) => requests.explain(typed),
    send: operations.declare({
      name: "report send",
      plan: async (typed: string) => {
        const plan = await requests.planSend(typed);
        if ("sent" in plan) throw cannotSend(plan);
        return plan;
      },
      change: async (typed) => {
        const sent = await requests.send(typed);
        if (!sent.sent) throw cannotSend(sent);
        return { id: sent.id, messageIds: sent.messageIds };
      },
      audited: ({ id, messageIds }) => ({ id, messageIds }),
      wakes: ["scheduler"],
    }),
    cancel: operations.declare({
      name: "report cancel",
      plan: (typed) => requests.planCancel(typed),
      change: (typed) => requests.cancel(typed),
      audited: ({ id, messages }) => ({ id, messages }),
      wakes: ["scheduler"],
    }),
    undelete: operations.declare({
      name: "report undelete",
      plan: (typed) => requests.planUndelete(typed),
      change: (typed) => requests.undelete(typed),
      audited: ({ report: { id }, merged }) => ({ id, merged }),
      wakes: ["scheduler"],
    }),
    hold: steer("report hold", true),
    release: steer("report release", false),
    schedule: operations.declare({
      name: "report schedule",
      plan: ({ id, at }) => {
        scheduledTime(at, epochSeconds(clock));
        return requests.planSchedule(id);
      },
      change: ({ id, at: asked }) => {
        const at = scheduledTime(asked, epochSeconds(clock));
        return { ...requests.schedule(id, at), at };
      },
      audited: ({ id, changed, at }) => (changed ? { id, at } : null),
      wakes: ["scheduler"],
    }),
  };
}

function cannotSend({ id, why }: { readonly id: string; readonly why: string }): MailreportError {
  return new MailreportError("outgoing.nothing_to_send", { detail: `${id}: ${why}` });
}
