/** The last step of an outgoing report: its tallies become messages and envelopes, in one transaction. */
import type { Config } from "../config/schema.ts";
import type { ReportUri } from "../dns/uri.ts";
import type { SigningKey } from "../format/mail/dkim-sign.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { supervised } from "../lib/supervised.ts";
import type { DaemonEventSink } from "../model/events.ts";
import type { OutgoingReport } from "../model/outgoing.ts";
import type { NewMessage, QueueStore } from "../store/queue.ts";
import type { Composer } from "./compose/job.ts";
import { composeJobOf, makeMessages, type OutboxOptions, withCopy } from "./messages.ts";

export interface CompositionOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly composer: Composer;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
  readonly secret: Uint8Array;
  readonly keys: () => readonly SigningKey[];
  readonly version: string;
  /** New envelopes are in the queue. */
  readonly onComposed: () => void;
  /** Parts of a message are in the store and could not be deleted when its composition failed. */
  readonly onStaged: () => void;
}

export type SendResult =
  | { readonly sent: true; readonly id: string; readonly messageIds: readonly string[] }
  | { readonly sent: false; readonly id: string; readonly why: string };

/** Bytes of messages that one commit stores. What is more is stored before it in slices: each takes a millisecond. */
const SLICE = 262_144;
const LARGE = 4 * SLICE;

/** Errors that say that somebody held or cancelled the report while it was composed. */
const TAKEN_AWAY = new Set<MailreportError["code"]>(["outgoing.not_open", "outgoing.no_such_report"]);

export class Composition {
  readonly #options: CompositionOptions;
  readonly #composing = new Map<string, Promise<unknown>>();
  readonly #staging = new Set<string>();

  constructor(options: CompositionOptions) {
    this.#options = options;
  }

  /** Ids of the reports that are being composed. */
  get composing(): ReadonlySet<string> {
    return new Set(this.#composing.keys());
  }

  /** Ids of the messages of which parts are in the store before their commit. */
  get staging(): ReadonlySet<string> {
    return this.#staging;
  }

  /** Resolves when nothing is being composed. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#composing.values());
  }

  /** Errors: `outgoing.composing`. */
  refuseIfComposing(id: string): void {
    if (this.#composing.has(id)) throw new MailreportError("outgoing.composing", { detail: id });
  }

  /**
   * Closes a report, composes it and queues its messages. What is counted meanwhile belongs to the next period.
   * Errors: `outgoing.composing`, those of the composer and of the store; the report is closed then, with its tallies.
   * @param note a remark for the report itself
   */
  compose(report: OutgoingReport, uris: readonly ReportUri[], note: string | null): Promise<SendResult> {
    this.refuseIfComposing(report.id);
    const running = Promise.resolve().then(() => this.#compose(report, uris, note));
    const ended = running.finally(() => this.#composing.delete(report.id));
    this.#composing.set(report.id, ended);
    return ended;
  }

  /** The message for the first of `uris` as it would go out now; nothing is stored. */
  async preview(report: OutgoingReport, uris: readonly ReportUri[]): Promise<Uint8Array> {
    const { store, clock, composer } = this.#options;
    const policy = store.outgoingPolicy(report.id);
    if (!policy) throw new MailreportError("outgoing.no_such_report", { detail: report.id });
    const now = epochSeconds(clock);
    const end = Math.max(report.begin, Math.min(report.end, now));
    const job = composeJobOf({ ...report, end }, policy, uris.slice(0, 1), null, now, this.#outbox());
    return (await composer.compose(job)).mails[0]!.raw;
  }

  async #compose(
    open: OutgoingReport,
    found: readonly ReportUri[],
    note: string | null,
  ): Promise<SendResult> {
    const { store, clock, composer, config } = this.#options;
    const now = epochSeconds(clock);
    const policy = store.outgoingPolicy(open.id);
    if (!policy) return { sent: false, id: open.id, why: "it is gone" };
    const report = store.closeOutgoing(open.id, now, open.end > now ? now : open.due);
    const uris = withCopy(found, config());
    const outbox = this.#outbox();
    const composed = await composer.compose(composeJobOf(report, policy, uris, note, now, outbox));
    const messages = makeMessages(report, composed, uris, now, outbox);
    try {
      const staged = await this.#stage(messages);
      store.compose(report.id, staged, now, note, composed.seen);
    } catch (error) {
      await this.#unstage(messages);
      if (!(error instanceof MailreportError) || !TAKEN_AWAY.has(error.code)) throw error;
      return { sent: false, id: report.id, why: error.message };
    } finally {
      for (const { message } of messages) this.#staging.delete(message.id);
    }
    await this.#tell(report, messages);
    return { sent: true, id: report.id, messageIds: messages.map(({ message }) => message.id) };
  }

  /** Stores what is too much for one commit in slices, between which other work of the event loop runs. */
  async #stage(messages: readonly (NewMessage & { readonly raw: Uint8Array })[]): Promise<NewMessage[]> {
    const { store, composer, log } = this.#options;
    const staged: NewMessage[] = [];
    let room = LARGE;
    let written = 0;
    for (const each of messages) {
      if (each.raw.byteLength <= room) {
        room -= each.raw.byteLength;
        staged.push(each);
        continue;
      }
      this.#staging.add(each.message.id);
      for (let part = 0; part * SLICE < each.raw.byteLength; part++) {
        store.stageRaw(each.message.id, part, each.raw.subarray(part * SLICE, (part + 1) * SLICE));
        await turn();
      }
      staged.push({ ...each, raw: null });
      written += each.raw.byteLength;
      if (written < LARGE) continue;
      written = 0;
      // what was written is copied into the database by the other thread, not by a commit of this one
      await supervised({ log, unit: "checkpoint" }, () => composer.checkpoint());
    }
    return staged;
  }

  /** Deletes what `#stage` stored for a composition that failed. What prevents that is left to the clean-up. */
  async #unstage(messages: readonly NewMessage[]): Promise<void> {
    const { store, log, onStaged } = this.#options;
    for (const { message } of messages) {
      if (!this.#staging.has(message.id)) continue;
      const fields = { message: message.id };
      const done = await supervised({ log, unit: "clean-up", fields }, () => store.unstageRaw(message.id));
      this.#staging.delete(message.id);
      if (!done.ok) onStaged();
      await turn();
    }
  }

  /** The report is composed whatever becomes of this. */
  async #tell(report: OutgoingReport, messages: readonly NewMessage[]): Promise<void> {
    const { log, events, onComposed } = this.#options;
    const { id, kind, policyDomain: domain } = report;
    for (const { message, envelopes } of messages) {
      const rcpt = envelopes.map((each) => each.rcpt).join(",");
      const made = { message: message.id, report_id: message.reportId, rcpt, size: message.size };
      events.emit("outgoing.composed", { id, kind, domain, ...made });
    }
    await supervised({ log, unit: "delivery of a composed report", fields: { id } }, onComposed);
  }

  #outbox(): OutboxOptions {
    const { config, store, secret, keys, version } = this.#options;
    return { config: config(), store, secret, keys: keys(), version };
  }
}

/** Lets other work of the event loop run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
