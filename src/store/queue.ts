/**
 * The queue store: outgoing reports, messages and envelopes. Written by the main thread in short transactions, local
 * to each node. Its methods are synchronous, and each one that writes is one transaction: after it returns, its effect
 * survives a power cut.
 * Errors: MailreportError `store.busy` (lock held elsewhere for over 50 ms), `store.full`, `store.io`, `store.corrupt`.
 */
import type { FeedEvent } from "../model/evaluation.ts";
import type { JobRun } from "../model/jobs.ts";
import type {
  DropReason,
  OutgoingKind,
  OutgoingPolicy,
  OutgoingReport,
  OutgoingState,
  TallyRow,
  TallySums,
} from "../model/outgoing.ts";
import type {
  AfterAttempt,
  AttemptOutcome,
  ChangeResult,
  Envelope,
  EnvelopeSelection,
  Pause,
  QueueMessage,
  Suppression,
} from "../model/queue.ts";
import type { Subsystem } from "../model/subsystems.ts";

/** Where an event is counted: computed by report/, stored here. */
export interface CountedEvent {
  readonly event: FeedEvent;
  readonly period: {
    readonly kind: OutgoingKind;
    readonly policyDomain: string;
    readonly policyHash: string;
    readonly begin: number;
    readonly end: number;
    readonly due: number;
    readonly policy: OutgoingPolicy;
  };
  /** The event's time lies in a period that was closed before. */
  readonly late: boolean;
}

export interface CountResult {
  readonly counted: number;
  /** Events whose (feed, id) was counted before. */
  readonly repeated: number;
  readonly opened: readonly string[];
}

/** A message ready for the queue. */
export interface NewMessage {
  readonly message: QueueMessage;
  /** Null: it was stored before with `stageRaw`. */
  readonly raw: Uint8Array | null;
  readonly envelopes: readonly {
    readonly id: string;
    readonly rcpt: string;
    readonly transport: "smtp" | "https";
    readonly destination: string;
    readonly nextAt: number;
    readonly expiresAt: number;
  }[];
}

/** A report that was brought back or opened again. */
export interface RestoredReport {
  readonly report: OutgoingReport;
  /** The report that was opened meanwhile for the same period and is a part of this one now. */
  readonly merged: string | null;
}

export interface OutgoingSelection {
  readonly ids?: readonly string[];
  readonly kind?: OutgoingKind;
  readonly domain?: string;
  readonly states?: readonly OutgoingState[];
}

export interface Page {
  readonly limit: number;
  /** Opaque key of the last row of the page before. */
  readonly after?: string;
}

export interface Paged<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

export interface AttemptRecord {
  readonly at: number;
  readonly durationMs: number;
  readonly result: "delivered" | "temporary" | "permanent";
  readonly host: string | null;
  readonly ip: string | null;
  readonly tls: string | null;
  readonly code: number | null;
  readonly enhanced: string | null;
  readonly text: string;
}

export interface QueueStore {
  // ---- counting (feed) ----
  /**
   * Counts a batch in one transaction. With ids, an event counts once per (feed, id).
   * @param rejected lines that came with the batch and could not be counted; only for the counters
   * @param cursor how far the feed has been read with this batch: stored in the same transaction
   */
  count(
    feed: string,
    events: readonly CountedEvent[],
    now: number,
    rejected?: number,
    cursor?: string,
  ): CountResult;
  /** The cursor of the last batch of a feed that had one; undefined when there was none. */
  feedCursor(feed: string): string | undefined;
  /**
   * The last second of [begin, end] that is closed for this key: composed, dropped, or cut short. Undefined when the
   * whole period is open.
   */
  closedUntil(
    kind: OutgoingKind,
    policyDomain: string,
    policyHash: string,
    begin: number,
    end: number,
  ): number | undefined;

  // ---- outgoing reports ----
  /** Epoch seconds of the next open outgoing report's due time; those in `skip` are left out. */
  nextOutgoingDue(skip?: ReadonlySet<string>): number | undefined;
  dueOutgoing(now: number, limit: number, skip?: ReadonlySet<string>): OutgoingReport[];
  outgoing(id: string): OutgoingReport | undefined;
  /** Finds by a typed id that may lack hash or begin; newest first. */
  findOutgoing(
    kind: OutgoingKind,
    domain: string,
    policyHash: string | null,
    begin: number | null,
  ): OutgoingReport[];
  listOutgoing(selection: OutgoingSelection, page: Page): Paged<OutgoingReport>;
  outgoingPolicy(id: string): OutgoingPolicy | undefined;
  /** Rows in a stable order (by canonical form). All are read at once: a large report takes long. */
  tallies(id: string): TallyRow[];
  /** Some tallies of a report, at most `limit` with their failure details, and how many it has. */
  someTallies(id: string, limit: number): { readonly rows: TallyRow[]; readonly total: number };
  /**
   * Closes a report: it counts no more. A period that is not over is cut at `end`; what comes later belongs to a
   * period that begins at end + 1.
   */
  closeOutgoing(id: string, end: number, due: number): OutgoingReport;
  /**
   * Undoes `closeOutgoing`. When a report was opened meanwhile for the part that had been cut off, its tallies are
   * merged into this one and it is gone; when that one is closed itself, the period stays cut.
   */
  reopenOutgoing(id: string): RestoredReport;
  /** No answer from DNS: tried again at `due`. */
  deferOutgoing(id: string, due: number, error: string): void;
  /** A composition failed by an error of ours: tried again at `due`. */
  failOutgoing(id: string, due: number, error: string): void;
  setOutgoingDue(id: string, due: number): boolean;
  holdOutgoing(id: string, held: boolean): boolean;
  /** Drops a report; a period that is not over is cut at `now`. The tallies stay until `purgeTallies`. */
  dropOutgoing(id: string, reason: DropReason, now: number): void;
  /**
   * Brings a dropped report back with its tallies; the rule of `reopenOutgoing` holds. A due time that has passed
   * becomes `notBefore`.
   * Errors: `outgoing.not_dropped`, `outgoing.not_kept`.
   */
  undeleteOutgoing(id: string, now: number, notBefore: number): RestoredReport;
  /** What `undeleteOutgoing` would do. Errors: the same. */
  planUndelete(id: string, now: number, notBefore: number): RestoredReport;
  /**
   * Messages and envelopes in, report `composed`: one transaction. The tallies of a large report are left to
   * `purgeTallies`.
   * @param seen the sums that the messages were composed from. Errors: `outgoing.changed` when they are others now
   */
  compose(
    id: string,
    messages: readonly NewMessage[],
    now: number,
    note: string | null,
    seen?: TallySums,
  ): void;
  /**
   * Stores one slice of a large message before its `compose`, in a transaction of its own. Slice 0 replaces what an
   * earlier try left.
   */
  stageRaw(messageId: string, part: number, slice: Uint8Array): void;
  /** Deletes the slices of a message, unless it was composed; returns how many. */
  unstageRaw(messageId: string): number;
  /**
   * Deletes the slices of one message that was never composed; returns how many, 0: none is left.
   * @param staging messages that are being composed
   */
  dropStagedRaw(staging?: ReadonlySet<string>): number;
  /** Epoch seconds at which tallies can be deleted next. @param keep seconds that those of dropped reports are kept */
  nextTallyPurge(keep: number): number | undefined;
  /** Deletes up to `limit` tallies of composed reports, and of those dropped `keep` seconds ago; 0: nothing is left. */
  purgeTallies(now: number, keep: number, limit: number): number;

  /** Deletes outgoing reports composed or dropped before `before`, without tallies; returns how many. */
  pruneOutgoing(before: number, limit: number): number;

  // ---- messages and envelopes ----
  /** Epoch seconds; destinations in `skipDestinations` are left out. */
  nextEnvelopeDue(skipDestinations?: ReadonlySet<string>): number | undefined;
  /** Leases due envelopes (`pending` → `inflight`), skipping paused destinations. */
  leaseEnvelopes(now: number, limit: number, skipDestinations: ReadonlySet<string>): Envelope[];
  /** `inflight` → `pending`, at start; returns how many. The attempt stays counted. */
  recoverInflight(now: number): number;
  /** Puts leased envelopes back untouched (shutdown, pause). */
  releaseEnvelopes(ids: readonly string[]): void;
  /**
   * Settles one attempt: delivered, failed, expired, or pending again at `nextAt`. A delivery clears the automatic
   * suppression of its recipient; `next.suppress` adds one. Returns false when the envelope is not in flight (any more).
   */
  settle(id: string, outcome: AttemptOutcome, next: AfterAttempt, now: number): boolean;
  /**
   * Records a delivery status notification as the last reply and as one more entry of the history. After a permanent
   * one an envelope that was delivered, pending or held is `failed`; one in flight is settled by its attempt.
   */
  noteBounce(id: string, outcome: AttemptOutcome, now: number, suppress: Suppression | null): void;
  message(id: string): QueueMessage | undefined;
  rawMessage(id: string): Uint8Array | undefined;
  envelope(id: string): Envelope | undefined;
  envelopesOf(messageId: string): Envelope[];
  attempts(envelopeId: string): AttemptRecord[];
  /** In the order of id; states default to pending, inflight, held. */
  listEnvelopes(selection: EnvelopeSelection, page: Page): Paged<Envelope>;
  countEnvelopes(selection: EnvelopeSelection): number;
  // With `dryRun` the following five answer what they would do, and change nothing.
  /** The life of an envelope is not extended: with `at` after `now`, one that expires before is skipped as `expires_before`. */
  scheduleEnvelopes(selection: EnvelopeSelection, at: number, now: number, dryRun?: boolean): ChangeResult;
  holdEnvelopes(selection: EnvelopeSelection, held: boolean, dryRun?: boolean): ChangeResult;
  removeEnvelopes(selection: EnvelopeSelection, now: number, dryRun?: boolean): ChangeResult;
  /** `removed` → the state before (pending or held), with the lifetime that was left when it was removed. */
  undeleteEnvelopes(selection: EnvelopeSelection, now: number, dryRun?: boolean): ChangeResult;
  /**
   * `failed` or `expired` → `pending`, due now, attempts counted from 0, history kept. Lifts the automatic suppression
   * of its recipient; what an operator's entry covers is skipped as `suppressed`.
   */
  requeueEnvelopes(
    selection: EnvelopeSelection,
    now: number,
    expiresAt: number,
    dryRun?: boolean,
  ): ChangeResult;
  /** Deletes final envelopes settled before `before` and messages without envelopes; returns deleted envelopes. */
  prune(before: number, limit: number): number;
  /** How many envelopes `prune(before)` and how many outgoing reports `pruneOutgoing(closedBefore)` would delete. */
  countFinished(
    before: number,
    closedBefore: number,
  ): { readonly envelopes: number; readonly reports: number };

  // ---- steering that survives a restart ----
  pauses(): Pause[];
  pause(pause: Pause): boolean;
  resume(subsystem: Subsystem, destination: string | null): boolean;
  /** All entries, also those whose time is over, by target. */
  suppressions(): Suppression[];
  /** The entry of exactly this target while it applies. */
  suppression(target: string, now: number): Suppression | undefined;
  /** The entry of exactly this target, also when its time is over: the next automatic one is longer. */
  lastSuppression(target: string): Suppression | undefined;
  /** Adds or replaces an entry. An automatic one does not replace an operator's that applies; then false. */
  suppress(entry: Suppression): boolean;
  /** Deletes entries of any author; returns how many. */
  unsuppress(targets: readonly string[]): number;
  audit(entry: {
    readonly at: number;
    readonly who: string;
    readonly command: string;
    readonly detail: string;
  }): void;
  /** The last run of each job that ever ran. */
  jobRuns(): JobRun[];
  /** Keeps the last run of a job, in place of the one before. */
  putJobRun(run: JobRun): void;
  /** A secret of this instance (32 bytes, made once), for jitter, ids and return-path tokens. */
  instanceSecret(make: () => Uint8Array): Uint8Array;

  /** Counters for `show stats`: `outgoing.open`, `outgoing.tally`, `queue.envelope.pending`, `queue.delivered`… */
  stats(): Record<string, number>;
  checkpoint(): void;
  /** Gives some unused pages back, some milliseconds of work, at most `pages`; returns how many are left. */
  vacuum(pages: number): number;
  close(): void;
}
