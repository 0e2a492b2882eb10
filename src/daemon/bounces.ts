/** Bounces of our own reports: from the ingest process and the listeners to the delivery. */
import { MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { logFailure } from "../lib/supervised.ts";
import type { DsnReport } from "../model/report.ts";
import { messageOfReturnPath } from "../report/messages.ts";
import type { IntakeResult } from "../store/archive/intake.ts";

/** Bounces that are kept until the delivery exists. */
const MAX_KEPT = 1000;

/** Records bounces in the queue. */
export interface BounceRecorder {
  /** Never throws. */
  bounced(messageId: string, dsn: DsnReport): void;
}

interface Bounce {
  readonly messageId: string;
  readonly dsn: DsnReport;
}

/** Ties delivery status notifications to messages of ours. Those that come before the delivery exists are kept for it. */
export class Bounces {
  readonly #log: Log;
  readonly #secret: () => Uint8Array;
  #recorder: BounceRecorder | undefined;
  #kept: Bounce[] = [];

  /** @param secret of this installation, which marks our return paths; throws a MailreportError while it is not known */
  constructor(log: Log, secret: () => Uint8Array) {
    this.#log = log;
    this.#secret = secret;
  }

  /** A mail was stored and parsed; those that are bounces are recorded. Errors: those of `secret`. */
  take({ dsns, envelopeTo }: Pick<IntakeResult, "dsns" | "envelopeTo">): void {
    if (dsns.length === 0) return;
    for (const address of envelopeTo) {
      const messageId = messageOfReturnPath(address, this.#secret());
      if (messageId !== undefined) for (const dsn of dsns) this.#record({ messageId, dsn });
    }
  }

  /** The delivery exists: it gets what was kept, and all bounces from now on. */
  deliverTo(recorder: BounceRecorder): void {
    this.#recorder = recorder;
    for (const { messageId, dsn } of this.#kept.splice(0)) recorder.bounced(messageId, dsn);
  }

  /** The notifications of bounces that are still kept stay in the archive; the log names their messages. */
  stop(): void {
    for (const { messageId } of this.#kept.splice(0)) this.#lost(messageId);
  }

  #record(bounce: Bounce): void {
    if (this.#recorder) this.#recorder.bounced(bounce.messageId, bounce.dsn);
    else if (this.#kept.length < MAX_KEPT) this.#kept.push(bounce);
    else this.#lost(bounce.messageId);
  }

  #lost(message: string): void {
    const error = new MailreportError("daemon.starting", { detail: "a bounce is not recorded in the queue" });
    logFailure({ log: this.#log, unit: "bounce", fields: { message } }, { error, bug: false });
  }
}
