/**
 * Turns outgoing reports into messages when they are due, and does what operators ask: look, send, preview, hold,
 * cancel, explain. State is in the store; the timer only knows the next due time.
 */
import type { Config } from "../config/schema.ts";
import type { Resolver } from "../dns/resolver.ts";
import { composeDocuments, composeMail } from "../format/compose/compose.ts";
import type { SigningKey } from "../format/mail/dkim-sign.ts";
import { type Clock, DueTimer, epochSeconds } from "../lib/clock.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { DROP_REASONS, type DropReason, type OutgoingReport, parseOutgoingId } from "../model/outgoing.ts";
import type { QueueStore } from "../store/queue.ts";
import { type Check, type LocalCheck, localChecks } from "./checks.ts";
import { resolveDestinations } from "./destinations.ts";
import { composeInput, makeMessages, type OutboxOptions } from "./messages.ts";

/** Waits for DNS: then the last seen addresses are used (RFC 9990 4: a temporary error may be retried). */
const DNS_WAITS = [900, 3600, 7200, 14_400, 28_800, 28_800];
/** Of these, waits for the rest when some addresses can be used. */
const PART_WAITS = 2;
/** A report that cannot be composed by a fault of ours is tried again so much later. Seconds. */
const FAULT_WAIT = 3600;
const AT_ONCE = 20;

export interface SchedulerOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
  readonly secret: Uint8Array;
  readonly keys: () => readonly SigningKey[];
  readonly version: string;
  /** Composing is stopped (`pause scheduler`). */
  readonly paused: () => boolean;
  /** New envelopes are in the queue. */
  readonly onComposed: () => void;
  /** Milliseconds between two compositions, so that a thousand due reports do not leave at once. Default: none. */
  readonly paceMs?: number;
}

export type SendResult =
  | { readonly sent: true; readonly id: string; readonly messageIds: readonly string[] }
  | { readonly sent: false; readonly id: string; readonly why: string };

export interface Explanation {
  readonly report: OutgoingReport;
  readonly checks: readonly Check[];
  readonly verdict: string;
}

export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #timer: DueTimer;
  #stopping = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    const { clock, store, log } = options;
    this.#timer = new DueTimer(
      clock,
      () => (options.paused() ? undefined : due(store.nextOutgoingDue())),
      () => this.#run(),
      (error) => log.error("store.problem", { what: "composing", error: errorText(error) }),
    );
  }

  start(): void {
    this.#timer.start();
  }

  wake(): void {
    this.#timer.wake();
  }

  /** Ends after the report that is being composed. */
  stop(): Promise<void> {
    this.#stopping = true;
    return this.#timer.stop();
  }

  async #run(): Promise<void> {
    const { store, clock, paused } = this.#options;
    for (;;) {
      const batch = store.dueOutgoing(epochSeconds(clock), AT_ONCE);
      if (batch.length === 0) return;
      for (const report of batch) {
        if (paused() || this.#stopping) return;
        await this.#processSafely(report);
        await this.#pace();
      }
    }
  }

  /** One report that cannot be composed must not stop the others. */
  async #processSafely(report: OutgoingReport): Promise<void> {
    const { store, clock, log } = this.#options;
    try {
      await this.#process(report, false);
    } catch (error) {
      if (!(error instanceof MailreportError) || error.temporary) throw error;
      const next = epochSeconds(clock) + FAULT_WAIT;
      log.error("outgoing.deferred", { id: report.id, reason: error.message, next });
      store.deferOutgoing(report.id, next, error.message);
    }
  }

  /** Lets other work run between two reports, and time pass where that is asked for. */
  #pace(): Promise<void> {
    const { clock, paceMs = 0 } = this.#options;
    return new Promise((resolve) => {
      if (paceMs > 0 && !this.#stopping) clock.after(paceMs, resolve);
      else setImmediate(resolve);
    });
  }

  /** Composes, defers or drops one due report. */
  async #process(report: OutgoingReport, asked: boolean): Promise<SendResult> {
    const { store, clock, config, log } = this.#options;
    const now = epochSeconds(clock);
    const policy = store.outgoingPolicy(report.id);
    if (!policy) return { sent: false, id: report.id, why: "it is gone" };
    // what an operator asks for may be old
    const shut = this.#checks(report, now).find(({ ok, drop }) => !ok && !(asked && drop === "expired"));
    if (shut) return this.#drop(report, shut.drop);
    const lastResort = report.resolveAttempts >= DNS_WAITS.length;
    const patient = report.resolveAttempts < PART_WAITS;
    const { resolver } = this.#options;
    const found = await resolveDestinations(report, policy, { resolver, store, now, lastResort, patient });
    if (store.outgoing(report.id)?.state !== "open")
      return { sent: false, id: report.id, why: "it is not open any more" };
    if (found.result === "drop") return this.#drop(report, found.reason);
    if (found.result === "wait") {
      const next = now + DNS_WAITS[Math.min(report.resolveAttempts, DNS_WAITS.length - 1)]!;
      store.deferOutgoing(report.id, next, found.detail);
      log.warn("outgoing.deferred", { id: report.id, reason: found.detail, next });
      return { sent: false, id: report.id, why: `DNS did not answer: ${found.detail}` };
    }
    const outbox = this.#outbox();
    const input = composeInput(report, policy, store.tallies(report.id), found.note, outbox);
    const messages = makeMessages(report, input, found.uris, now, { ...outbox, config: config() });
    store.compose(report.id, messages, now, found.note);
    for (const { message, envelopes } of messages) {
      const { id, reportId, size } = message;
      log.info("outgoing.composed", {
        id: report.id,
        message: id,
        report_id: reportId,
        rcpt: envelopes.map((e) => e.rcpt).join(","),
        size,
      });
    }
    this.#options.onComposed();
    return { sent: true, id: report.id, messageIds: messages.map((m) => m.message.id) };
  }

  #outbox(): OutboxOptions {
    const { config, store, secret, keys, version } = this.#options;
    return { config: config(), store, secret, keys: keys(), version };
  }

  #checks(report: OutgoingReport, now: number): LocalCheck[] {
    return localChecks(report, this.#options.config(), this.#options.keys(), now);
  }

  #drop(report: OutgoingReport, reason: DropReason): SendResult {
    const { store, clock, log } = this.#options;
    store.dropOutgoing(report.id, reason, epochSeconds(clock));
    log.info("outgoing.dropped", { id: report.id, reason, messages: report.messages });
    return { sent: false, id: report.id, why: `${reason}: ${DROP_REASONS[reason]}` };
  }

  // ---- what operators ask -----------------------------------------------------

  /** The report that a typed id means: whole, or shortened where the rest is unique. Errors: `outgoing.no_such_report`. */
  find(typed: string): OutgoingReport {
    const { store } = this.#options;
    const whole = store.outgoing(typed);
    if (whole) return whole;
    const parsed = parseOutgoingId(typed);
    const found = parsed
      ? store.findOutgoing(parsed.kind, parsed.domain, parsed.policyHash, parsed.begin)
      : [];
    const open = found.filter((r) => r.state === "open" || r.state === "held");
    const choice = open.length === 1 ? open : found;
    if (choice.length === 0) throw new MailreportError("outgoing.no_such_report", { detail: typed });
    if (open.length > 1) {
      throw new MailreportError("outgoing.no_such_report", {
        detail: `${typed} means ${open.length} reports: ${open.map((r) => r.id).join(", ")}`,
      });
    }
    return choice[0]!;
  }

  /** Sends now. A period that is still open is closed at the current second; what comes later begins a new one. */
  async send(typed: string): Promise<SendResult> {
    const { store, clock } = this.#options;
    let report = this.find(typed);
    if (report.state === "held")
      throw new MailreportError("outgoing.not_open", { detail: `${report.id} is held; release it first` });
    if (report.state !== "open")
      throw new MailreportError("outgoing.not_open", { detail: `${report.id} is ${report.state}` });
    const now = epochSeconds(clock);
    if (report.end > now) report = store.closeOutgoing(report.id, Math.max(report.begin, now), now);
    const result = await this.#process(report, true);
    this.wake();
    return result;
  }

  /** The exact messages that would go out now: to the addresses as they are, nothing stored. */
  async preview(typed: string): Promise<Uint8Array> {
    const { store, clock } = this.#options;
    const report = this.find(typed);
    if (report.state === "composed") {
      const raw = report.messageIds[0] === undefined ? undefined : store.rawMessage(report.messageIds[0]);
      if (raw) return raw;
    }
    if (report.state !== "open" && report.state !== "held") {
      throw new MailreportError("outgoing.not_open", { detail: `${report.id} is ${report.state}` });
    }
    const now = epochSeconds(clock);
    const end = Math.max(report.begin, Math.min(report.end, now));
    const outbox = this.#outbox();
    const input = composeInput(
      { ...report, end },
      store.outgoingPolicy(report.id)!,
      store.tallies(report.id),
      null,
      outbox,
    );
    const explained = await this.#destinations(report, now);
    const first =
      explained.result === "send" ? explained.uris.find((uri) => uri.scheme === "mailto") : undefined;
    const to = first?.scheme === "mailto" ? first.address : `postmaster@${report.policyDomain}`;
    return composeMail(input, composeDocuments(input)[0]!, to, 1, now, outbox.keys).raw;
  }

  #destinations(report: OutgoingReport, now: number) {
    const { store, resolver } = this.#options;
    return resolveDestinations(report, store.outgoingPolicy(report.id)!, {
      resolver,
      store,
      now,
      lastResort: false,
      patient: false,
    });
  }

  /** Every check on the way of a report, and what would happen. */
  async explain(typed: string): Promise<Explanation> {
    const { clock } = this.#options;
    const report = this.find(typed);
    const now = epochSeconds(clock);
    const local = this.#checks(report, now);
    const checks: Check[] = local.map(({ check, ok, detail }) => ({ check, ok, detail }));
    if (report.state !== "open" && report.state !== "held") {
      const why = report.dropReason === null ? "" : `: ${DROP_REASONS[report.dropReason]}`;
      return { report, checks, verdict: `${report.state}${why}` };
    }
    const found = await this.#destinations(report, now);
    const shut = local.find((each) => !each.ok);
    const verdict =
      shut !== undefined
        ? `will not be sent: ${DROP_REASONS[shut.drop]}`
        : found.result === "send"
          ? `will be sent to ${found.uris.map((uri) => uri.uri).join(", ")}`
          : found.result === "wait"
            ? `waits for DNS: ${found.detail}`
            : `will not be sent: ${DROP_REASONS[found.reason]}`;
    return { report, checks: [...checks, ...found.checks], verdict };
  }

  /** Drops what was counted so far; what comes later in the same period begins a new report. */
  cancel(typed: string): OutgoingReport {
    const { store, clock } = this.#options;
    const report = this.find(typed);
    const now = epochSeconds(clock);
    if ((report.state === "open" || report.state === "held") && report.end > now) {
      store.closeOutgoing(report.id, now, report.due);
    }
    this.#drop(report, "cancelled");
    return report;
  }

  hold(typed: string, held: boolean): boolean {
    const changed = this.#options.store.holdOutgoing(this.find(typed).id, held);
    this.wake();
    return changed;
  }

  schedule(typed: string, at: number): boolean {
    const changed = this.#options.store.setOutgoingDue(this.find(typed).id, at);
    this.wake();
    return changed;
  }
}

/** Epoch seconds → milliseconds. */
function due(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000;
}
