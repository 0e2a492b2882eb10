/**
 * Delivers what is due: leases envelopes, makes their attempts, settles each with what was said. At-least-once: a crash
 * between the remote 250 and the commit of its outcome sends the same bytes with the same Message-ID again.
 */
import type { Config } from "../config/schema.ts";
import type { Resolver } from "../dns/resolver.ts";
import { type Clock, DueTimer, epochSeconds } from "../lib/clock.ts";
import { errorText } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, logFailure, supervised } from "../lib/supervised.ts";
import type { DaemonEventSink } from "../model/events.ts";
import type { Envelope } from "../model/queue.ts";
import type { DsnReport } from "../model/report.ts";
import type { QueueStore } from "../store/queue.ts";
import { type Attempted, attempt, localReply } from "./attempt.ts";
import { recordBounce } from "./bounce.ts";
import { PendingWrites } from "./pending-writes.ts";
import { settle } from "./settle.ts";
import { suppressionOf, suppressionText } from "./suppression.ts";

export interface DeliveryOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
  /** 0 to 1. */
  readonly random: () => number;
}

/** Bounces that are kept while the store cannot commit; the notifications themselves are in the archive. */
const MAX_KEPT_WRITES = 1000;

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #timer: DueTimer;
  readonly #writes: PendingWrites;
  readonly #running = new Map<string, Promise<void>>();
  readonly #perDestination = new Map<string, number>();
  readonly #counts = { sessions: 0, delivered: 0, deferred: 0, failed: 0 };
  #stopping = false;
  /** Attempts that end from now on are not settled: they were put back. */
  #stopped = false;
  /** The store may be closed: nothing more is recorded. */
  #closed = false;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    const { clock, store, log, events } = options;
    this.#writes = new PendingWrites(clock, log, () => this.wake());
    this.#timer = new DueTimer(
      clock,
      () => {
        if (this.#isWaiting() || this.#running.size >= this.#options.config().deliver.concurrency)
          return undefined;
        const due = store.nextEnvelopeDue(this.#skipped());
        return due === undefined ? undefined : due * 1000;
      },
      async () => this.#lease(),
      (thrown) => {
        const { error } = failureOf(thrown);
        const fields = { what: "delivery", code: error.code, error: errorText(error) };
        events.emit("store.problem", { level: "error", ...fields });
      },
    );
  }

  /**
   * Puts back what a crash left in flight, and begins. While the store cannot commit that, delivery waits and tries
   * again. Errors: those of the store that trying again does not change.
   */
  start(): void {
    const { store, clock, log } = this.#options;
    let refused: Error | undefined;
    this.#writes.add({
      fields: { what: "putting back the envelopes that were in flight" },
      commit: () => {
        const recovered = store.recoverInflight(epochSeconds(clock));
        if (recovered > 0)
          log.warn("deliver.problem", {
            recovered,
            reason: "attempts were cut off by the end of the process",
          });
        if (!this.#stopping) this.#timer.start();
      },
      onFailed: ({ error }) => {
        refused = error;
      },
    });
    if (refused) throw refused;
  }

  wake(): void {
    this.#timer.wake();
  }

  /**
   * Waits for attempts in flight, at most `graceMs`; the others go back into the queue. Bounces are recorded until
   * `close`. Never rejects: where the store cannot commit that, the next start puts them back.
   */
  async stop(graceMs: number): Promise<void> {
    const { clock, store, log } = this.#options;
    this.#stopping = true;
    await this.#timer.stop();
    if (this.#running.size > 0) {
      let timer: { cancel(): void } | undefined;
      const grace = new Promise<void>((resolve) => {
        timer = clock.after(graceMs, resolve);
      });
      await Promise.race([Promise.allSettled(this.#running.values()), grace]);
      timer?.cancel();
    }
    this.#stopped = true;
    this.#endWrites();
    try {
      if (this.#running.size > 0) store.releaseEnvelopes([...this.#running.keys()]);
    } catch (error) {
      logFailure({ log, unit: "putting back envelopes in flight" }, failureOf(error));
    }
  }

  /** The end, before the store is closed: bounces that cannot be committed now are logged and forgotten. */
  close(): void {
    this.#closed = true;
    this.#endWrites();
  }

  #endWrites(): void {
    for (const fields of this.#writes.stop())
      this.#options.log.error("deliver.problem", {
        ...fields,
        reason: "not committed before the end of the process",
      });
  }

  stats(): Record<string, number> {
    const { sessions, delivered, deferred, failed } = this.#counts;
    return {
      "mta.session": sessions,
      "mta.session.now": this.#running.size,
      "mta.delivered": delivered,
      "mta.deferred": deferred,
      "mta.failed": failed,
      "mta.uncommitted": this.#writes.size,
    };
  }

  /**
   * A delivery status notification came back for one of our messages. Never throws: while the store cannot commit it is
   * kept and recorded later.
   */
  bounced(messageId: string, dsn: DsnReport): void {
    const { log } = this.#options;
    if (this.#closed || this.#writes.size >= MAX_KEPT_WRITES) {
      log.warn("deliver.problem", { message: messageId, reason: "a bounce is not recorded in the queue" });
      return;
    }
    this.#writes.add({
      fields: { what: "bounce", message: messageId },
      // a database that cannot be read now is one that can be read later
      commit: () => recordBounce(messageId, dsn, this.#options),
      onFailed: (failure) => logFailure({ log, unit: "bounce", fields: { message: messageId } }, failure),
    });
  }

  #pauses(): { readonly all: boolean; readonly destinations: ReadonlySet<string> } {
    const pauses = this.#options.store.pauses().filter(({ subsystem }) => subsystem === "mta");
    return {
      all: pauses.some((p) => p.destination === null),
      destinations: new Set(pauses.flatMap((p) => p.destination ?? [])),
    };
  }

  /** Nothing is leased now: paused, stopping, or outcomes of earlier attempts are not committed yet. */
  #isWaiting(): boolean {
    return this.#stopping || this.#writes.size > 0 || this.#pauses().all;
  }

  /** Destinations that get nothing now: paused, or at their maximum number of attempts. */
  #skipped(): Set<string> {
    const skipped = new Set(this.#pauses().destinations);
    const most = this.#options.config().deliver.concurrency_per_host;
    for (const [destination, n] of this.#perDestination) if (n >= most) skipped.add(destination);
    return skipped;
  }

  #lease(): void {
    const { store, clock, config } = this.#options;
    while (!this.#isWaiting() && this.#running.size < config().deliver.concurrency) {
      const [envelope] = store.leaseEnvelopes(epochSeconds(clock), 1, this.#skipped());
      if (!envelope) return;
      this.#launch(envelope);
    }
  }

  #launch(envelope: Envelope): void {
    const { destination, id } = envelope;
    this.#perDestination.set(destination, (this.#perDestination.get(destination) ?? 0) + 1);
    const run = this.#run(envelope).finally(() => {
      this.#running.delete(id);
      const left = this.#perDestination.get(destination)! - 1;
      if (left > 0) this.#perDestination.set(destination, left);
      else this.#perDestination.delete(destination);
      this.#timer.wake();
    });
    this.#running.set(id, run);
  }

  /** One unit of work: an attempt that fails by an error of ours is a temporary failure with that error's text. */
  async #run(envelope: Envelope): Promise<void> {
    const { clock, log } = this.#options;
    this.#counts.sessions++;
    const from = clock.monotonic();
    const fields = { id: envelope.id, rcpt: envelope.rcpt };
    const done = await supervised({ log, unit: "delivery", fields }, () => this.#attempt(envelope));
    const outcome = done.ok ? done.value : this.#deferred(errorText(done.failure.error));
    if (outcome.stage === "auth") {
      const { host, text: reply } = outcome.reply;
      log.error("deliver.problem", { ...fields, host, reply, reason: "the relay refuses the login" });
    }
    this.#settle(envelope, outcome, Math.round(clock.monotonic() - from));
  }

  #deferred(text: string): Attempted {
    return { result: "temporary", reply: localReply(this.#options.clock, text), stage: "error" };
  }

  async #attempt(envelope: Envelope): Promise<Attempted> {
    const { store, clock } = this.#options;
    const suppressed = suppressionOf(store, envelope, epochSeconds(clock));
    if (suppressed) {
      const reply = localReply(clock, suppressionText(suppressed));
      return { result: "permanent", reply, stage: "suppression" };
    }
    const raw = store.rawMessage(envelope.messageId);
    if (raw) return attempt(envelope, raw, this.#options);
    return { result: "permanent", reply: localReply(clock, "the message is gone"), stage: "queue" };
  }

  /** Commits the outcome, or keeps it until the store can: what is known to be delivered is not sent again. */
  #settle(envelope: Envelope, outcome: Attempted, durationMs: number): void {
    if (this.#stopped) return; // it was put back
    const { log } = this.#options;
    const { id, rcpt } = envelope;
    const commit = (what: Attempted): void => settle(envelope, what, durationMs, this.#counts, this.#options);
    this.#writes.add({
      fields: { what: "outcome of an attempt", id, rcpt, outcome: outcome.result, reply: outcome.reply.text },
      commit: () => commit(outcome),
      onFailed: (failure) => {
        logFailure({ log, unit: "delivery", fields: { id, rcpt, outcome: outcome.result } }, failure);
        // A bug in settling: once more as a plain deferral. What was delivered stays in flight, so that it is not sent
        // again before the next start.
        if (outcome.result !== "delivered" && outcome.stage !== "error")
          this.#settle(envelope, this.#deferred(errorText(failure.error)), durationMs);
      },
    });
  }
}
