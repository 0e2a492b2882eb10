/** Which envelopes the suppression list stops, and the entries that replies and bounces add to it. */
import { iso } from "../lib/units.ts";
import { type Envelope, isActive, type Suppression, suppressionTargets } from "../model/queue.ts";
import type { QueueStore } from "../store/queue.ts";
import { SUPPRESSION_LADDER } from "./retry.ts";

const LONGEST_REASON = 200;

/** The entry that applies to an envelope at `now`, the most specific one. */
export function suppressionOf(
  store: Pick<QueueStore, "suppression">,
  { rcpt, destination, policyDomain }: Pick<Envelope, "rcpt" | "destination" | "policyDomain">,
  now: number,
): Suppression | undefined {
  for (const target of suppressionTargets(rcpt, destination, policyDomain)) {
    const entry = store.suppression(target, now);
    if (entry) return entry;
  }
  return undefined;
}

/** One line for people: by whom, until when, and why if a reason was given. */
export function suppressionText({ target, until, reason, author }: Suppression): string {
  const end = until === null ? "" : ` until ${iso(until)}`;
  return `${target} is suppressed (${author})${end}${reason === "" ? "" : `: ${reason}`}`;
}

/**
 * The automatic entry for an address that a reply or a bounce says cannot receive mail; longer each time in a row. Null
 * when an operator's entry or an automatic one applies already.
 */
export function automaticSuppression(
  store: Pick<QueueStore, "lastSuppression">,
  rcpt: string,
  reason: string,
  now: number,
): Suppression | null {
  const target = rcpt.toLowerCase();
  const before = store.lastSuppression(target);
  if (before && isActive(before, now)) return null;
  const step = before?.author === "automatic" ? Math.min(before.step + 1, SUPPRESSION_LADDER.length - 1) : 0;
  return {
    target,
    until: now + SUPPRESSION_LADDER[step]!,
    reason: reason.slice(0, LONGEST_REASON),
    author: "automatic",
    createdAt: now,
    step,
  };
}
