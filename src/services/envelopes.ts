/** Envelopes and messages of the queue: look at one, and what operators change. Times are epoch seconds. */
import type { Config } from "../config/schema.ts";
import { suppressionOf } from "../deliver/suppression.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import type { ChangeResult, Envelope, EnvelopeSelection, QueueMessage, Suppression } from "../model/queue.ts";
import type { AttemptRecord, QueueStore } from "../store/queue.ts";
import type { Operation, Operations } from "./operation.ts";
import { scheduledTime } from "./times.ts";

export const ENVELOPE_ACTIONS = ["schedule", "hold", "release", "remove", "undelete", "requeue"] as const;
export type EnvelopeAction = (typeof ENVELOPE_ACTIONS)[number];

export interface EnvelopeRequest {
  readonly selection: EnvelopeSelection;
  /** `schedule`: when; default now. */
  readonly at?: number | undefined;
}

export interface EnvelopeService {
  /** Errors: `queue.no_such_envelope`. */
  envelope(id: string): {
    readonly envelope: Envelope;
    /** The entry of the suppression list that stops it. */
    readonly suppression: Suppression | undefined;
    readonly history: readonly AttemptRecord[];
  };
  /** A message by its id or that of one of its envelopes. Errors: `queue.no_such_message`. */
  message(id: string): { readonly message: QueueMessage; readonly envelopes: readonly Envelope[] };
  /** The bytes of a message, by its id or that of one of its envelopes. Errors: `queue.no_such_message`. */
  rawMessage(id: string): Uint8Array;
  /** What operators do to the envelopes of a selection. `schedule`: `request.invalid` for a time in the past. */
  readonly actions: Readonly<Record<EnvelopeAction, Operation<EnvelopeRequest, ChangeResult>>>;
}

export interface EnvelopeOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly clock: Clock;
}

/** Length of a message id; the id of an envelope begins with that of its message. */
const MESSAGE_ID = 8;

export function makeEnvelopes(operations: Operations, options: EnvelopeOptions): EnvelopeService {
  const { config, store, clock } = options;

  function apply(action: EnvelopeAction, request: EnvelopeRequest, dryRun: boolean): ChangeResult {
    const { selection, at } = request;
    const now = epochSeconds(clock);
    switch (action) {
      case "schedule":
        return store.scheduleEnvelopes(
          selection,
          at === undefined ? now : scheduledTime(at, now),
          now,
          dryRun,
        );
      case "hold":
      case "release":
        return store.holdEnvelopes(selection, action === "hold", dryRun);
      case "remove":
        return store.removeEnvelopes(selection, now, dryRun);
      case "undelete":
        return store.undeleteEnvelopes(selection, now, dryRun);
      case "requeue": {
        const expiresAt = now + Math.floor(config().deliver.expire / 1000);
        return store.requeueEnvelopes(selection, now, expiresAt, dryRun);
      }
    }
  }

  const declare = (action: EnvelopeAction): Operation<EnvelopeRequest, ChangeResult> =>
    operations.declare({
      name: action,
      plan: (request) => apply(action, request, true),
      change: (request) => apply(action, request, false),
      audited: ({ changed }, { selection }) => (changed === 0 ? null : { select: selection, changed }),
      wakes: ["delivery"],
    });

  return {
    envelope(id) {
      const envelope = store.envelope(id);
      if (!envelope) throw new MailreportError("queue.no_such_envelope", { detail: id });
      const suppression = suppressionOf(store, envelope, epochSeconds(clock));
      return { envelope, suppression, history: store.attempts(envelope.id) };
    },
    message(id) {
      const messageId = id.slice(0, MESSAGE_ID);
      const message = store.message(messageId);
      if (!message) throw new MailreportError("queue.no_such_message", { detail: messageId });
      return { message, envelopes: store.envelopesOf(messageId) };
    },
    rawMessage(id) {
      const raw = store.rawMessage(id.slice(0, MESSAGE_ID));
      if (!raw) throw new MailreportError("queue.no_such_message", { detail: id });
      return raw;
    },
    actions: {
      schedule: declare("schedule"),
      hold: declare("hold"),
      release: declare("release"),
      remove: declare("remove"),
      undelete: declare("undelete"),
      requeue: declare("requeue"),
    },
  };
}
