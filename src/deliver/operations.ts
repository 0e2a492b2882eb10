/**
 * What operators do to envelopes and to the suppression list: one place for dry run, audit and waking delivery. Times
 * are epoch seconds.
 */
import type { Config } from "../config/schema.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import { normalizeDomain, parseAddress } from "../model/domain-name.ts";
import { type ChangeResult, type EnvelopeSelection, isActive, type Suppression } from "../model/queue.ts";
import type { QueueStore } from "../store/queue.ts";

export const ENVELOPE_ACTIONS = ["schedule", "hold", "release", "remove", "undelete", "requeue"] as const;
export type EnvelopeAction = (typeof ENVELOPE_ACTIONS)[number];

export interface OperationsOptions {
  readonly config: () => Config;
  readonly store: QueueStore;
  readonly clock: Clock;
  /** Notes what an operator changed. */
  readonly audit: (command: string, detail: Readonly<Record<string, unknown>>) => void;
  /** Envelopes may be due. */
  readonly wake: () => void;
}

export interface ActionOptions {
  /** `schedule`: when; default now. */
  readonly at?: number | undefined;
  /** Answer what would change, and change nothing. */
  readonly dryRun: boolean;
  readonly reason?: string | undefined;
}

export interface SuppressRequest {
  readonly target: string;
  /** null = no end. */
  readonly until: number | null;
  readonly reason: string;
  readonly dryRun: boolean;
}

export interface SuppressResult {
  readonly entry: Suppression;
  /** The entry that it replaces, while that applied. */
  readonly replaced: Suppression | null;
  /** Waiting envelopes that will not be sent. */
  readonly waiting: number;
}

export interface UnsuppressResult {
  readonly removed: readonly Suppression[];
  readonly skipped: readonly { readonly id: string; readonly code: string }[];
}

export interface LookupResult {
  readonly suppressed: boolean;
  /** What applies, the most specific first. */
  readonly entries: readonly Suppression[];
  /** Envelopes that wait for this target. */
  readonly waiting: number;
}

export interface EnvelopeOperations {
  change(action: EnvelopeAction, selection: EnvelopeSelection, options: ActionOptions): ChangeResult;
  /** @param all also entries whose time is over */
  suppressions(all: boolean): Suppression[];
  /** Errors: `suppression.bad_target`, `request.invalid` for a time that is over. */
  suppress(request: SuppressRequest): SuppressResult;
  /** All in one transaction. */
  unsuppress(targets: readonly string[], dryRun: boolean, reason?: string): UnsuppressResult;
  /** Whether reports are sent to an address or URI, or about a domain. Errors: `suppression.bad_target`. */
  lookup(target: string): LookupResult;
}

export function makeEnvelopeOperations(options: OperationsOptions): EnvelopeOperations {
  const { config, store, clock, audit, wake } = options;
  const now = (): number => epochSeconds(clock);

  function apply(
    action: EnvelopeAction,
    selection: EnvelopeSelection,
    { at, dryRun }: ActionOptions,
  ): ChangeResult {
    switch (action) {
      case "schedule":
        return store.scheduleEnvelopes(selection, at ?? now(), now(), dryRun);
      case "hold":
      case "release":
        return store.holdEnvelopes(selection, action === "hold", dryRun);
      case "remove":
        return store.removeEnvelopes(selection, now(), dryRun);
      case "undelete":
        return store.undeleteEnvelopes(selection, now(), dryRun);
      case "requeue": {
        const expiresAt = now() + Math.floor(config().deliver.expire / 1000);
        return store.requeueEnvelopes(selection, now(), expiresAt, dryRun);
      }
    }
  }

  return {
    change(action, selection, how) {
      const result = apply(action, selection, how);
      if (how.dryRun) return result;
      wake();
      audit(action, { select: selection, changed: result.changed, reason: how.reason });
      return result;
    },
    suppressions: (all) => store.suppressions().filter((entry) => all || isActive(entry, now())),
    suppress({ target: typed, until, reason, dryRun }) {
      const target = suppressionTarget(typed);
      if (until !== null && until <= now())
        throw new MailreportError("request.invalid", { detail: "the end of the suppression is in the past" });
      const before = store.suppression(target, now());
      const entry: Suppression = {
        target,
        until,
        reason,
        author: "operator",
        createdAt: now(),
        step: 0,
      };
      if (!dryRun) {
        store.suppress(entry);
        audit("suppress add", { target, until, reason });
      }
      return { entry, replaced: before ?? null, waiting: store.countEnvelopes(waitingFor(target)) };
    },
    unsuppress(targets, dryRun, reason) {
      const removed = new Map<string, Suppression>();
      const skipped: { id: string; code: string }[] = [];
      for (const typed of new Set(targets)) {
        // an entry is found as it is written in the list, too
        const target = canonicalTarget(typed) ?? typed.toLowerCase();
        const entry = store.lastSuppression(target);
        if (!entry) skipped.push({ id: typed, code: "suppression.none" });
        else removed.set(entry.target, entry);
      }
      if (!dryRun && removed.size > 0) {
        store.unsuppress([...removed.keys()]);
        audit("suppress remove", { targets: [...removed.keys()], reason });
      }
      return { removed: [...removed.values()], skipped };
    },
    lookup(typed) {
      const target = suppressionTarget(typed);
      const entries = targetsFor(target).flatMap((each) => store.suppression(each, now()) ?? []);
      const waiting = store.countEnvelopes(waitingFor(target));
      return { suppressed: entries.length > 0, entries, waiting };
    },
  };
}

/** The canonical target of what an operator typed. Errors: `suppression.bad_target`. */
function suppressionTarget(typed: string): string {
  const target = canonicalTarget(typed);
  if (target === undefined) throw new MailreportError("suppression.bad_target", { detail: typed });
  return target;
}

/** `user@domain`, `@domain`, a domain or an https URI in lower case; undefined for anything else. */
function canonicalTarget(typed: string): string | undefined {
  const text = typed.trim().replace(/^mailto:/i, "");
  if (/^https:\/\/[^\s/]+/i.test(text)) return URL.canParse(text) ? text.toLowerCase() : undefined;
  if (text.startsWith("@")) {
    const domain = normalizeDomain(text.slice(1));
    return domain === undefined ? undefined : `@${domain}`;
  }
  if (!text.includes("@")) return normalizeDomain(text);
  const address = parseAddress(text);
  return address && `${address.local}@${address.domain}`.toLowerCase();
}

/** The entries that apply to a target: its own, and that of the domain that the address or URI belongs to. */
function targetsFor(target: string): string[] {
  if (target.startsWith("https://")) return [target, `@${new URL(target).hostname}`];
  const at = target.lastIndexOf("@");
  return at > 0 ? [target, target.slice(at)] : [target];
}

function waitingFor(target: string): EnvelopeSelection {
  if (target.startsWith("@")) return { destination: target.slice(1) };
  if (target.includes("@") || target.startsWith("https://")) return { rcpt: target };
  return { domain: target };
}
