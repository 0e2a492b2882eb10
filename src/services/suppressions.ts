/** The suppression list: look up, add, remove. Times are epoch seconds. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import { normalizeDomain, parseAddress } from "../model/domain-name.ts";
import { type EnvelopeSelection, isActive, type Suppression } from "../model/queue.ts";
import type { QueueStore } from "../store/queue.ts";
import type { Caller, Operation, Operations } from "./operation.ts";

export interface SuppressRequest {
  readonly target: string;
  /** null = no end. */
  readonly until: number | null;
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

export interface SuppressionService {
  /** @param all also entries that have expired */
  list(all: boolean): Suppression[];
  /** Whether reports are sent to an address or URI, or about a domain. Errors: `suppression.bad_target`. */
  lookup(target: string): LookupResult;
  /**
   * The reason of the caller is that of the entry.
   * Errors: `suppression.bad_target`, `request.invalid` for an end in the past.
   */
  readonly add: Operation<SuppressRequest, SuppressResult>;
  /** Removes entries of any author, all in one transaction. */
  readonly remove: Operation<readonly string[], UnsuppressResult>;
}

export interface SuppressionOptions {
  readonly store: QueueStore;
  readonly clock: Clock;
}

export function makeSuppressions(
  operations: Operations,
  { store, clock }: SuppressionOptions,
): SuppressionService {
  function planAdd({ target: typed, until }: SuppressRequest, { reason }: Caller): SuppressResult {
    // a single label is a slip of the keyboard: no policy is published there
    if (!/[@.\u3002\uff0e\uff61]/.test(typed))
      throw new MailreportError("suppression.bad_target", { detail: `${typed}: a domain has a dot` });
    const target = suppressionTarget(typed);
    const now = epochSeconds(clock);
    if (until !== null && until <= now)
      throw new MailreportError("request.invalid", { detail: "the end of the suppression is in the past" });
    const entry: Suppression = {
      target,
      until,
      reason: reason ?? "",
      author: "operator",
      createdAt: now,
      step: 0,
    };
    const replaced = store.suppression(target, now) ?? null;
    return { entry, replaced, waiting: store.countEnvelopes(waitingFor(target)) };
  }

  function planRemove(targets: readonly string[]): UnsuppressResult {
    const removed = new Map<string, Suppression>();
    const skipped: { id: string; code: string }[] = [];
    for (const typed of new Set(targets)) {
      // an entry is found as it is written in the list, too
      const entry = store.lastSuppression(canonicalTarget(typed) ?? typed.toLowerCase());
      if (!entry) skipped.push({ id: typed, code: "suppression.none" });
      else removed.set(entry.target, entry);
    }
    return { removed: [...removed.values()], skipped };
  }

  const targetsOf = ({ removed }: UnsuppressResult): string[] => removed.map(({ target }) => target);

  return {
    list: (all) => store.suppressions().filter((entry) => all || isActive(entry, epochSeconds(clock))),
    lookup(typed) {
      const target = suppressionTarget(typed);
      const now = epochSeconds(clock);
      const entries = targetsFor(target).flatMap((each) => store.suppression(each, now) ?? []);
      const waiting = store.countEnvelopes(waitingFor(target));
      return { suppressed: entries.length > 0, entries, waiting };
    },
    add: operations.declare({
      name: "suppress add",
      plan: planAdd,
      change: (request, caller) => {
        const added = planAdd(request, caller);
        store.suppress(added.entry);
        return added;
      },
      audited: ({ entry: { target, until } }) => ({ target, until }),
    }),
    remove: operations.declare({
      name: "suppress remove",
      plan: planRemove,
      change: (targets) => {
        const result = planRemove(targets);
        if (result.removed.length > 0) store.unsuppress(targetsOf(result));
        return result;
      },
      audited: (result) => (result.removed.length === 0 ? null : { targets: targetsOf(result) }),
    }),
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
