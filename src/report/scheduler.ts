/**
 * Turns outgoing reports into messages when they are due. State is in the store; the timer only knows the next due
 * time. Each composition is a unit of work: one that fails is set aside with its error, and the others go on.
 */
import type { Resolver } from "../dns/resolver.ts";
import { DueTimer, epochSeconds } from "../lib/clock.ts";
import { errorText, type MailreportError } from "../lib/errors.ts";
import { type Failure, failureOf, supervised } from "../lib/supervised.ts";
import type { EventFields } from "../model/events.ts";
import type { DropReason, OutgoingReport } from "../model/outgoing.ts";
import { localChecks } from "./checks.ts";
import { TallyCleanup } from "./cleanup.ts";
import { Composition, type CompositionOptions, turn } from "./composition.ts";
import { DNS_WAITS, destinationsOf } from "./destinations.ts";
import { OutgoingRequests } from "./requests.ts";
import { isStoreFault, nextTry, Resting } from "./resting.ts";

const AT_ONCE = 20;
/** So many reports in a row that the store failed for: it is the store, and the timer tries again in a minute. */
const STORE_FAULTS = 3;

export interface SchedulerOptions extends Omit<CompositionOptions, "onStaged"> {
  readonly resolver: Resolver;
  /** Composing is stopped (`pause scheduler`). */
  readonly paused: () => boolean;
}

export class Scheduler {
  /** What operators ask. After a change the scheduler must be woken. */
  readonly requests: OutgoingRequests;
  readonly #options: SchedulerOptions;
  readonly #timer: DueTimer;
  readonly #composition: Composition;
  readonly #cleanup: TallyCleanup;
  /** Reports that the store failed for. It cannot note that, so they are remembered here. */
  readonly #resting = new Resting();
  #stopping = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: SchedulerOptions) {
    this.#options = options;
    const { clock, events } = options;
    const onError = (thrown: unknown): void => {
      const { error } = failureOf(thrown);
      const fields = { what: "composing", code: error.code, error: errorText(error) };
      events.emit("store.problem", { level: "error", ...fields });
    };
    this.#composition = new Composition({
      ...options,
      onComposed: () => this.#composed(),
      onStaged: () => this.#cleanup.staged(),
    });
    this.#cleanup = new TallyCleanup({ ...options, onError, staging: () => this.#composition.staging });
    this.requests = new OutgoingRequests({ ...options, composition: this.#composition });
    this.#timer = new DueTimer(
      clock,
      () => this.#nextDue(),
      () => {
        this.#running = this.#run();
        return this.#running;
      },
      onError,
    );
  }

  start(): void {
    this.#cleanup.start();
    this.#timer.start();
  }

  /** Says that something may have become due. */
  wake(): void {
    this.#timer.wake();
    this.#cleanup.wake();
  }

  stats(): Record<string, number> {
    return { "outgoing.composing": this.#composition.composing.size };
  }

  /** Resolves when nothing is being composed. */
  async idle(): Promise<void> {
    await Promise.allSettled([this.#running, this.#cleanup.idle(), this.#composition.idle()]);
  }

  /** Ends after the report that is being composed; what operators asked for is ended at once. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all([this.#timer.stop(), this.#cleanup.stop()]);
    await this.#options.composer.stop();
    await this.#composition.idle();
  }

  #composed(): void {
    this.#cleanup.wake();
    this.#options.onComposed();
  }

  /** Epoch milliseconds. */
  #nextDue(): number | undefined {
    const { paused, store, clock } = this.#options;
    if (paused()) return undefined;
    const now = epochSeconds(clock);
    const next = store.nextOutgoingDue(this.#skipped(now));
    const rested = this.#resting.next(now);
    const seconds = Math.min(next ?? Number.POSITIVE_INFINITY, rested ?? Number.POSITIVE_INFINITY);
    return Number.isFinite(seconds) ? seconds * 1000 : undefined;
  }

  /** Reports that are due and have to wait all the same. */
  #skipped(now: number): ReadonlySet<string> {
    return new Set([...this.#resting.at(now), ...this.#composition.composing]);
  }

  async #run(): Promise<void> {
    const { store, clock, paused } = this.#options;
    let storeFaults = 0;
    for (;;) {
      const now = epochSeconds(clock);
      const batch = store.dueOutgoing(now, AT_ONCE, this.#skipped(now));
      if (batch.length === 0) return;
      for (const report of batch) {
        if (paused() || this.#stopping) return;
        const fault = await this.#unit(report);
        storeFaults = fault ? storeFaults + 1 : 0;
        if (fault && storeFaults >= STORE_FAULTS) throw fault;
        await turn();
      }
    }
  }

  /** One due report; returns the error of a store that failed for now. */
  async #unit(report: OutgoingReport): Promise<MailreportError | undefined> {
    const { log } = this.#options;
    const done = await supervised({ log, unit: "composition", fields: { id: report.id } }, () =>
      this.#process(report.id),
    );
    if (done.ok) this.#resting.forget(report.id);
    return done.ok ? undefined : this.#setAside(report, done.failure);
  }

  /** Notes the error with the report, which is tried again later; the others go on. */
  #setAside(report: OutgoingReport, { error }: Failure): MailreportError | undefined {
    const { store, clock } = this.#options;
    if (this.#stopping) return undefined;
    const now = epochSeconds(clock);
    const storeFault = isStoreFault(error) ? error : undefined;
    try {
      if (storeFault) throw storeFault;
      const next = nextTry(report, now);
      store.failOutgoing(report.id, next, errorText(error));
      this.#resting.forget(report.id);
      this.#deferred(report, "composing", errorText(error), next);
      return undefined;
    } catch (thrown) {
      const next = this.#resting.rest(report.id, now);
      const { error: fault } = failureOf(thrown);
      this.#deferred(report, "store", errorText(fault), next);
      return isStoreFault(fault) ? fault : undefined;
    }
  }

  /** Composes, defers or drops a due report. */
  async #process(id: string): Promise<void> {
    const { store, clock, config, keys } = this.#options;
    const report = store.outgoing(id);
    if (report?.state !== "open") return;
    const now = epochSeconds(clock);
    const failed = localChecks(report, config(), keys(), now).find(({ ok }) => !ok);
    if (failed) return this.#drop(report, failed.drop);
    const found = await destinationsOf(report, this.#options, now, report.resolveAttempts);
    if (store.outgoing(id)?.state !== "open") return;
    if (found.result === "drop") return this.#drop(report, found.reason);
    if (found.result === "send") {
      await this.#composition.compose(report, found.uris, found.note);
      return;
    }
    const next = now + DNS_WAITS[Math.min(report.resolveAttempts, DNS_WAITS.length - 1)]!;
    store.deferOutgoing(id, next, found.detail);
    this.#deferred(report, "dns", found.detail, next);
  }

  #deferred(
    { id, kind, policyDomain: domain }: OutgoingReport,
    cause: EventFields["outgoing.deferred"]["cause"],
    reason: string,
    next: number,
  ): void {
    this.#options.events.emit("outgoing.deferred", { id, kind, domain, cause, reason, next });
  }

  #drop(report: OutgoingReport, reason: DropReason): void {
    const { store, clock, events } = this.#options;
    const { id, kind, policyDomain: domain, messages } = report;
    store.dropOutgoing(id, reason, epochSeconds(clock));
    events.emit("outgoing.dropped", { id, kind, domain, reason, messages });
    this.#cleanup.wake();
  }
}
