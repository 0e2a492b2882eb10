/**
 * Delivers what is due: leases envelopes, tries their hosts, settles each with what was said. At-least-once: a crash
 * between the remote 250 and ours sends the same bytes with the same Message-ID again.
 */
import { readFileSync } from "node:fs";
import type { Config } from "../config/schema.ts";
import { mailHosts } from "../dns/mx.ts";
import type { Resolver } from "../dns/resolver.ts";
import { type Clock, DueTimer, epochSeconds } from "../lib/clock.ts";
import { errorText } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { parseAddress } from "../model/domain-name.ts";
import type { Envelope, LastReply } from "../model/queue.ts";
import type { DsnReport } from "../model/report.ts";
import type { QueueStore } from "../store/queue.ts";
import { postReport } from "./https.ts";
import { blamesAddress, nextAttempt, SUPPRESSION_LADDER } from "./retry.ts";
import { type SmtpReply, type SmtpTarget, sendSmtp } from "./smtp.ts";

export interface DeliveryOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1. */
  readonly random: () => number;
}

interface Attempted {
  readonly result: "delivered" | "temporary" | "permanent";
  readonly reply: LastReply;
  readonly stage: string;
}

export interface HostStats {
  readonly destination: string;
  readonly at: number;
  readonly text: string;
}

const REMEMBERED_HOSTS = 1000;

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #timer: DueTimer;
  readonly #running = new Map<string, Promise<void>>();
  readonly #perDestination = new Map<string, number>();
  readonly #hosts = new Map<string, HostStats>();
  readonly #count = { sessions: 0, delivered: 0, deferred: 0, failed: 0 };
  #stopping = false;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    const { clock, store, log } = options;
    this.#timer = new DueTimer(
      clock,
      () => {
        if (this.#allPaused() || this.#running.size >= this.#options.config().deliver.concurrency)
          return undefined;
        const due = store.nextEnvelopeDue(this.#skipped());
        return due === undefined ? undefined : due * 1000;
      },
      async () => this.#lease(),
      (error) => log.error("store.problem", { what: "delivery", error: errorText(error) }),
    );
  }

  /** Puts back what a crash left in flight, and begins. */
  start(): void {
    const { store, clock, log } = this.#options;
    const recovered = store.recoverInflight(epochSeconds(clock));
    if (recovered > 0)
      log.warn("deliver.problem", { recovered, reason: "attempts were cut off by the end of the process" });
    this.#timer.start();
  }

  wake(): void {
    this.#timer.wake();
  }

  /** Waits for attempts in flight, at most `graceMs`; what is left goes back into the queue. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    await this.#timer.stop();
    if (this.#running.size === 0) return;
    let timer: { cancel(): void } | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = this.#options.clock.after(graceMs, resolve);
    });
    await Promise.race([Promise.allSettled(this.#running.values()), grace]);
    timer?.cancel();
    this.#options.store.releaseEnvelopes([...this.#running.keys()]);
  }

  stats(): Record<string, number> {
    const { sessions, delivered, deferred, failed } = this.#count;
    return {
      "mta.session": sessions,
      "mta.session.now": this.#running.size,
      "mta.delivered": delivered,
      "mta.deferred": deferred,
      "mta.failed": failed,
    };
  }

  /** The last word of each destination, newest first. */
  hosts(): HostStats[] {
    return [...this.#hosts.values()].sort((a, b) => b.at - a.at);
  }

  #pauses(): { readonly all: boolean; readonly destinations: ReadonlySet<string> } {
    const now = epochSeconds(this.#options.clock);
    const pauses = this.#options.store
      .pauses()
      .filter((p) => p.subsystem === "mta" && (p.until === null || p.until > now));
    return {
      all: pauses.some((p) => p.destination === null),
      destinations: new Set(pauses.flatMap((p) => p.destination ?? [])),
    };
  }

  #allPaused(): boolean {
    return this.#stopping || this.#pauses().all;
  }

  /** Destinations that get nothing now: paused, or with as many attempts running as they may have. */
  #skipped(): Set<string> {
    const skipped = new Set(this.#pauses().destinations);
    const most = this.#options.config().deliver.concurrency_per_host;
    for (const [destination, n] of this.#perDestination) if (n >= most) skipped.add(destination);
    return skipped;
  }

  #lease(): void {
    const { store, clock, config } = this.#options;
    while (!this.#allPaused() && this.#running.size < config().deliver.concurrency) {
      const [envelope] = store.leaseEnvelopes(epochSeconds(clock), 1, this.#skipped());
      if (!envelope) return;
      this.#launch(envelope);
    }
  }

  #launch(envelope: Envelope): void {
    const { destination, id } = envelope;
    this.#perDestination.set(destination, (this.#perDestination.get(destination) ?? 0) + 1);
    const run = this.#attempt(envelope).finally(() => {
      this.#running.delete(id);
      const left = this.#perDestination.get(destination)! - 1;
      if (left > 0) this.#perDestination.set(destination, left);
      else this.#perDestination.delete(destination);
      this.#timer.wake();
    });
    this.#running.set(id, run);
  }

  async #attempt(envelope: Envelope): Promise<void> {
    const { store, clock } = this.#options;
    this.#count.sessions++;
    const from = clock.monotonic();
    const raw = store.rawMessage(envelope.messageId);
    const done: Attempted = raw
      ? await this.#deliver(envelope, raw)
      : { result: "permanent", reply: this.#noReply("the message is gone"), stage: "queue" };
    this.#settle(envelope, done, Math.round(clock.monotonic() - from));
  }

  #noReply(text: string, enhanced: string | null = null): LastReply {
    return {
      at: epochSeconds(this.#options.clock),
      host: null,
      ip: null,
      tls: null,
      code: null,
      enhanced,
      text,
    };
  }

  async #deliver(envelope: Envelope, raw: Uint8Array): Promise<Attempted> {
    const { config, resolver, clock } = this.#options;
    const { deliver } = config();
    if (envelope.transport === "https") {
      const { result, code, text, ip, tls } = await postReport(
        envelope.rcpt,
        raw,
        resolver,
        deliver.allow_private,
      );
      const reply = {
        at: epochSeconds(clock),
        host: envelope.destination,
        ip,
        tls,
        code,
        enhanced: null,
        text,
      };
      return { result, reply, stage: "https" };
    }
    if (!parseAddress(envelope.rcpt) || !parseAddress(envelope.sender)) {
      return {
        result: "permanent",
        reply: this.#noReply("not an address that can be sent to", "5.1.3"),
        stage: "address",
      };
    }
    const targets = await this.#targets(envelope);
    if (!Array.isArray(targets)) return targets as Attempted;
    let last: Attempted | undefined;
    for (const target of targets as SmtpTarget[]) {
      last = await this.#tryHost(envelope, raw, target);
      // the next host only where this one could not be talked to
      if (last.result !== "temporary" || last.reply.code !== null) return last;
    }
    return last ?? { result: "temporary", reply: this.#noReply("no host to try", "4.4.4"), stage: "dns" };
  }

  /** The hosts to try, in order; or the outcome, when there is none. */
  async #targets(envelope: Envelope): Promise<readonly SmtpTarget[] | Attempted> {
    const { config, resolver, random } = this.#options;
    const { deliver } = config();
    if (deliver.relay !== undefined) {
      const match = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(deliver.relay)!;
      const host = match[1]!.replace(/^\[|\]$/g, "");
      const password =
        deliver.relay_password_file === undefined
          ? null
          : readFileSync(deliver.relay_password_file, "utf8").trim();
      const auth =
        deliver.relay_user !== undefined && password !== null ? { user: deliver.relay_user, password } : null;
      return [
        {
          host,
          address: host,
          port: Number(match[2] ?? (deliver.relay_tls === "implicit" ? 465 : 25)),
          tls: deliver.relay_tls,
          auth,
        },
      ];
    }
    const found = await mailHosts(resolver, envelope.destination, {
      family: deliver.ip_family,
      allowPrivate: deliver.allow_private,
      random,
    });
    if (!found.ok) {
      const result = found.temporary ? "temporary" : "permanent";
      return { result, reply: this.#noReply(found.text, found.enhanced), stage: "dns" };
    }
    return found.hosts.flatMap(({ host, addresses }) =>
      addresses.map((address) => ({ host, address, port: deliver.port, tls: deliver.tls, auth: null })),
    );
  }

  async #tryHost(envelope: Envelope, raw: Uint8Array, target: SmtpTarget): Promise<Attempted> {
    const first = await this.#send(envelope, raw, target);
    if (first.stage !== "tls") return this.#attempted(first, target);
    // RFC 8460 3: a TLS report must get through whatever is wrong with TLS
    const clear = envelope.kind === "tls" || this.#options.config().deliver.plaintext_fallback;
    if (!clear || target.tls === "required") return this.#attempted(first, target);
    return this.#attempted(await this.#send(envelope, raw, { ...target, tls: "none" }), target);
  }

  #send({ sender, rcpt }: Envelope, raw: Uint8Array, target: SmtpTarget): Promise<SmtpReply> {
    const { config, clock } = this.#options;
    const { hostname, connect_timeout, attempt_timeout } = config().deliver;
    return sendSmtp(target, { from: sender, to: rcpt }, raw, {
      clock,
      name: hostname,
      connectTimeoutMs: connect_timeout,
      attemptTimeoutMs: attempt_timeout,
    });
  }

  #attempted({ result, code, enhanced, text, tls, stage }: SmtpReply, target: SmtpTarget): Attempted {
    const at = epochSeconds(this.#options.clock);
    return { result, reply: { at, host: target.host, ip: target.address, tls, code, enhanced, text }, stage };
  }

  #settle(envelope: Envelope, { result, reply, stage }: Attempted, durationMs: number): void {
    const { store, clock, log, config } = this.#options;
    const now = epochSeconds(clock);
    const { id, rcpt, destination, attempts } = envelope;
    const outcome = { result, reply, durationMs };
    const { host, tls, code } = reply;
    const fields = {
      id,
      outgoing: envelope.outgoingId,
      rcpt,
      host,
      tls,
      code,
      reply: reply.text,
      attempts,
      ms: durationMs,
    };
    this.#remember(destination, { destination, at: reply.at, text: reply.text });
    if (result === "delivered") {
      this.#count.delivered++;
      store.settle(id, outcome, { state: "delivered", nextAt: now }, now);
      store.unsuppress(rcpt.toLowerCase());
      log.info("envelope.delivered", fields);
      return;
    }
    if (result === "permanent") {
      this.#count.failed++;
      store.settle(id, outcome, { state: "failed", nextAt: now }, now);
      log.warn("envelope.failed", fields);
      if (blamesAddress(reply.code, reply.enhanced, stage)) this.#suppress(rcpt, reply.text, now);
      return;
    }
    const next = nextAttempt(envelope, config(), now);
    if (next === null) {
      this.#count.failed++;
      store.settle(id, outcome, { state: "expired", nextAt: now }, now);
      log.warn("envelope.expired", fields);
      return;
    }
    this.#count.deferred++;
    store.settle(id, outcome, { state: "pending", nextAt: next }, now);
    log.info("envelope.deferred", { ...fields, next });
  }

  #remember(destination: string, stats: HostStats): void {
    this.#hosts.delete(destination);
    this.#hosts.set(destination, stats);
    if (this.#hosts.size > REMEMBERED_HOSTS) this.#hosts.delete(this.#hosts.keys().next().value!);
  }

  #suppress(rcpt: string, reason: string, now: number): void {
    const { store, log } = this.#options;
    const target = rcpt.toLowerCase();
    const before = store.suppressions().find((s) => s.target === target);
    if (before?.author === "operator") return;
    const step = Math.min((before?.step ?? -1) + 1, SUPPRESSION_LADDER.length - 1);
    const until = now + SUPPRESSION_LADDER[step]!;
    store.suppress({
      target,
      until,
      reason: reason.slice(0, 200),
      author: "automatic",
      createdAt: now,
      step,
    });
    log.warn("suppression.added", { target, until, reason });
  }

  /** A delivery status notification that came home for one of our messages: tied to the envelope that caused it. */
  bounced(messageId: string, dsn: DsnReport): void {
    const { store, clock, log } = this.#options;
    const now = epochSeconds(clock);
    const envelopes = store.envelopesOf(messageId);
    const [only, ...others] = dsn.recipients;
    for (const { id, rcpt } of envelopes) {
      // a forwarded address is not the one that we wrote to: with one of each there is no doubt
      const recipient =
        dsn.recipients.find(({ originalRecipient, finalRecipient }) =>
          [originalRecipient, finalRecipient].some(
            (address) => address?.toLowerCase() === rcpt.toLowerCase(),
          ),
        ) ?? (envelopes.length === 1 && others.length === 0 ? only : undefined);
      if (!recipient) continue;
      const { action, status, diagnostic, remoteMta } = recipient;
      log.info("envelope.bounced", { id, rcpt, action, status, diagnostic });
      const text = `bounced (${action}): ${diagnostic ?? status ?? "no reason given"}`;
      const host = remoteMta ?? dsn.reportingMta;
      const reply = { at: now, host, ip: null, tls: null, code: null, enhanced: status, text };
      store.noteBounce(id, { result: RESULTS[action], reply, durationMs: 0 });
      if (action === "failed") this.#suppress(rcpt, diagnostic ?? status ?? "bounced", now);
    }
  }
}

/** What a notification (RFC 3464 2.3.3) says about an envelope that we had handed over. */
const RESULTS = {
  failed: "permanent",
  delayed: "temporary",
  unknown: "temporary",
  delivered: "delivered",
  relayed: "delivered",
  expanded: "delivered",
} as const;
