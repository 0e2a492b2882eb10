/**
 * What operators ask about outgoing reports: look, send, preview, hold, schedule, cancel, undelete, explain. Each change
 * has a plan beside it that changes nothing. Nothing is woken here.
 */
import type { Config } from "../config/schema.ts";
import type { Resolver } from "../dns/resolver.ts";
import type { SigningKey } from "../format/mail/dkim-sign.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, supervised } from "../lib/supervised.ts";
import { iso } from "../lib/units.ts";
import type { DaemonEventSink } from "../model/events.ts";
import { DROP_REASONS, type OutgoingReport, parseOutgoingId } from "../model/outgoing.ts";
import type { QueueStore, RestoredReport } from "../store/queue.ts";
import { type Check, localChecks } from "./checks.ts";
import type { Composition, SendResult } from "./composition.ts";
import { type Destinations, destinationsOf } from "./destinations.ts";
import { isStoreFault, nextTry } from "./resting.ts";

/** A report that is brought back after it was due is tried again then, unless it is sent before. Seconds. */
const UNDELETE_WAIT = 3600;

export interface RequestOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
  readonly keys: () => readonly SigningKey[];
  readonly composition: Composition;
}

/** What `send` would do. */
export interface SendPlan {
  readonly id: string;
  /** Last second that the report would cover. */
  readonly end: number;
  /** Report URIs. */
  readonly to: readonly string[];
}

/** What became of holding, releasing or scheduling. */
export interface ReportChange {
  readonly id: string;
  /** False: it was so before, or it is in a state in which that cannot be changed. */
  readonly changed: boolean;
}

export interface Explanation {
  readonly report: OutgoingReport;
  readonly checks: readonly Check[];
  readonly verdict: string;
}

export class OutgoingRequests {
  readonly #options: RequestOptions;

  constructor(options: RequestOptions) {
    this.#options = options;
  }

  /** The report that a typed id means: whole, or shortened where the rest is unique. Errors: `outgoing.no_such_report`. */
  find(typed: string): OutgoingReport {
    return this.#find(typed, (report) => isWaiting(report));
  }

  #find(typed: string, preferred: (report: OutgoingReport) => boolean): OutgoingReport {
    const { store } = this.#options;
    const whole = store.outgoing(typed);
    if (whole) return whole;
    const parsed = parseOutgoingId(typed);
    const found = parsed
      ? store.findOutgoing(parsed.kind, parsed.domain, parsed.policyHash, parsed.begin)
      : [];
    const wanted = found.filter(preferred);
    const choice = wanted.length === 1 ? wanted : found;
    if (choice.length === 0) throw new MailreportError("outgoing.no_such_report", { detail: typed });
    if (wanted.length > 1) {
      throw new MailreportError("outgoing.no_such_report", {
        detail: `${typed} means ${wanted.length} reports: ${wanted.map((r) => r.id).join(", ")}`,
      });
    }
    return choice[0]!;
  }

  /**
   * Sends now. A period that is not over is cut at the current second; what comes later begins a new report. One that
   * cannot be sent is left as it was, and the reason is told; an error of composing is noted with the report.
   * Errors: `outgoing.not_open`, `outgoing.composing`, those of composing.
   */
  async send(typed: string): Promise<SendResult> {
    const { composition } = this.#options;
    const { report, found } = await this.#sendable(typed);
    if (found.result !== "send") return { sent: false, id: report.id, why: whyNot(found) };
    try {
      const result = await composition.compose(report, found.uris, found.note);
      if (!result.sent) await this.#reopen(report);
      return result;
    } catch (error) {
      await this.#failed(report, failureOf(error).error);
      throw error;
    }
  }

  /** What `send` would do now. Errors: those of `send`. */
  async planSend(typed: string): Promise<SendPlan | Extract<SendResult, { sent: false }>> {
    const { report, found } = await this.#sendable(typed);
    if (found.result !== "send") return { sent: false, id: report.id, why: whyNot(found) };
    const end = Math.max(report.begin, Math.min(report.end, epochSeconds(this.#options.clock)));
    return { id: report.id, end, to: found.uris.map(({ uri }) => uri) };
  }

  /** An open report, and where it can go now. An operator may send one that is too old for the schedule. */
  async #sendable(typed: string): Promise<{ readonly report: OutgoingReport; readonly found: Destinations }> {
    const { store, clock, config, keys, composition } = this.#options;
    const report = this.find(typed);
    const { id, state } = report;
    if (state !== "open") {
      const detail = state === "held" ? `${id} is held; release it first` : `${id} is ${state}`;
      throw new MailreportError("outgoing.not_open", { detail });
    }
    composition.refuseIfComposing(id);
    const now = epochSeconds(clock);
    const failed = localChecks(report, config(), keys(), now).find(
      (each) => !each.ok && each.drop !== "expired",
    );
    if (failed) return { report, found: { result: "drop", reason: failed.drop, checks: [] } };
    const found = await destinationsOf(report, this.#options, now, report.resolveAttempts);
    const after = store.outgoing(id);
    if (after?.state !== "open")
      throw new MailreportError("outgoing.not_open", { detail: `${id} is ${after?.state ?? "gone"}` });
    return { report: after, found };
  }

  /** Leaves a report as it was before it was composed in vain. What prevents that is logged: the report stays cut. */
  async #reopen(report: OutgoingReport): Promise<void> {
    const { store, log } = this.#options;
    const now = store.outgoing(report.id);
    if (report.closed || !now?.closed || !isWaiting(now)) return;
    await supervised({ log, unit: "reopening a report", fields: { id: report.id } }, () =>
      store.reopenOutgoing(report.id),
    );
  }

  /** Leaves a report as it was, but for the error: a failure of ours is noted as the scheduler notes it. */
  async #failed(report: OutgoingReport, error: MailreportError): Promise<void> {
    const { store, clock, log } = this.#options;
    if (error.code === "outgoing.composing") return;
    await this.#reopen(report);
    if (isStoreFault(error) || error.code === "daemon.stopping") return;
    await supervised({ log, unit: "noting a failure", fields: { id: report.id } }, () => {
      const now = epochSeconds(clock);
      const { due } = store.outgoing(report.id) ?? report;
      store.failOutgoing(report.id, due > now ? due : nextTry(report, now), errorText(error));
    });
  }

  /** The exact message that would go out now: to the first address as it is; nothing is stored. */
  async preview(typed: string): Promise<Uint8Array> {
    const { store, clock, composition } = this.#options;
    const report = this.find(typed);
    if (report.state === "composed") {
      const raw = report.messageIds[0] === undefined ? undefined : store.rawMessage(report.messageIds[0]);
      if (raw) return raw;
    }
    if (!isWaiting(report))
      throw new MailreportError("outgoing.not_open", { detail: `${report.id} is ${report.state}` });
    const found = await destinationsOf(report, this.#options, epochSeconds(clock), 0);
    const first = found.result === "send" ? found.uris.find(({ scheme }) => scheme === "mailto") : undefined;
    const host = report.policyDomain;
    const postmaster = {
      scheme: "mailto",
      uri: `mailto:postmaster@${host}`,
      address: `postmaster@${host}`,
      host,
    } as const;
    return composition.preview(report, [first ?? postmaster]);
  }

  /** Every check on the way of a report, and what would happen. */
  async explain(typed: string): Promise<Explanation> {
    const { clock, config, keys } = this.#options;
    const report = this.find(typed);
    const now = epochSeconds(clock);
    const local = localChecks(report, config(), keys(), now);
    const checks: Check[] = local.map(({ check, ok, detail }) => ({ check, ok, detail }));
    if (!isWaiting(report)) return { report, checks, verdict: this.#ended(report) };
    const found = await destinationsOf(report, this.#options, now, 0);
    const failed = local.find((each) => !each.ok);
    const verdict = failed ? `will not be sent: ${DROP_REASONS[failed.drop]}` : verdictOf(found, report);
    return { report, checks: [...checks, ...found.checks, ...composingCheck(report)], verdict };
  }

  #ended(report: OutgoingReport): string {
    const why = report.dropReason === null ? "" : `: ${DROP_REASONS[report.dropReason]}`;
    if (!report.restorable) return `${report.state}${why}`;
    const until = report.droppedAt! + Math.floor(this.#options.config().report.keep_dropped / 1000);
    return `${report.state}${why}; report undelete brings it back until ${iso(until)}`;
  }

  /**
   * Drops what was counted so far; what comes later in the same period begins a new report. The tallies are kept for
   * `report.keep_dropped`. Errors: `outgoing.not_open`.
   */
  cancel(typed: string): OutgoingReport {
    const { store, clock, events } = this.#options;
    const report = this.planCancel(typed);
    store.dropOutgoing(report.id, "cancelled", epochSeconds(clock));
    const { id, kind, policyDomain: domain, messages } = report;
    events.emit("outgoing.dropped", { id, kind, domain, reason: "cancelled", messages });
    return report;
  }

  /** The report that `cancel` would drop. Errors: those of `cancel`. */
  planCancel(typed: string): OutgoingReport {
    const report = this.find(typed);
    if (!isWaiting(report))
      throw new MailreportError("outgoing.not_open", { detail: `${report.id} is ${report.state}` });
    return report;
  }

  /**
   * Brings a dropped report back with its tallies. A report that was opened meanwhile for the rest of its period
   * becomes a part of it; where that one was composed, dropped or closed, the period ends where it was cut. When the due
   * time has passed, the report is tried again in an hour.
   * Errors: `outgoing.not_dropped`, `outgoing.not_kept`.
   */
  undelete(typed: string): RestoredReport {
    const { store, events } = this.#options;
    const { id, now, notBefore } = this.#dropped(typed);
    const restored = store.undeleteOutgoing(id, now, notBefore);
    const { due, messages, kind, policyDomain: domain } = restored.report;
    events.emit("outgoing.undeleted", { id, kind, domain, due, messages, merged: restored.merged });
    return restored;
  }

  /** What `undelete` would do. Errors: those of `undelete`. */
  planUndelete(typed: string): RestoredReport {
    const { id, now, notBefore } = this.#dropped(typed);
    return this.#options.store.planUndelete(id, now, notBefore);
  }

  /** The report that would be brought back, and when its next try may be. Errors: `outgoing.composing`. */
  #dropped(typed: string): { readonly id: string; readonly now: number; readonly notBefore: number } {
    const { clock, composition } = this.#options;
    const { id } = this.#find(typed, (report) => report.state === "dropped");
    composition.refuseIfComposing(id);
    const now = epochSeconds(clock);
    return { id, now, notBefore: now + UNDELETE_WAIT };
  }

  /** Holds or releases. */
  hold(typed: string, held: boolean): ReportChange {
    const { id } = this.find(typed);
    return { id, changed: this.#options.store.holdOutgoing(id, held) };
  }

  /** What `hold` would do. */
  planHold(typed: string, held: boolean): ReportChange {
    const { id, state } = this.find(typed);
    return { id, changed: state === (held ? "open" : "held") };
  }

  /** Sets the due time of an open report. @param at epoch seconds */
  schedule(typed: string, at: number): ReportChange {
    const { id } = this.find(typed);
    return { id, changed: this.#options.store.setOutgoingDue(id, at) };
  }

  /** What `schedule` would do. */
  planSchedule(typed: string): ReportChange {
    const { id, state } = this.find(typed);
    return { id, changed: state === "open" };
  }
}

const isWaiting = ({ state }: OutgoingReport): boolean => state === "open" || state === "held";

function whyNot(found: Exclude<Destinations, { result: "send" }>): string {
  return found.result === "wait"
    ? `DNS did not answer: ${found.detail}`
    : `${found.reason}: ${DROP_REASONS[found.reason]}`;
}

function verdictOf(found: Destinations, { failures, due }: OutgoingReport): string {
  if (found.result === "send") {
    const to = found.uris.map(({ uri }) => uri).join(", ");
    return failures === 0
      ? `will be sent to ${to}`
      : `cannot be composed; tried again at ${iso(due)}, then sent to ${to}`;
  }
  if (found.result === "wait") return `waits for DNS: ${found.detail}`;
  return `will not be sent: ${DROP_REASONS[found.reason]}`;
}

/** Shown when composing has failed. */
function composingCheck({ failures, lastError, due }: OutgoingReport): Check[] {
  if (failures === 0) return [];
  const times = failures === 1 ? "failed once" : `failed ${failures} times`;
  return [{ check: "composing", ok: false, detail: `${times}, next try at ${iso(due)}: ${lastError ?? ""}` }];
}
