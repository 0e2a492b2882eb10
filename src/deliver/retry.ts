/** When an envelope is tried again, and which failures suppress an address for a time. */
import { createHash } from "node:crypto";
import type { Config } from "../config/schema.ts";
import type { Envelope } from "../model/queue.ts";

const DAY = 86_400;
/** Spread of each wait, so that envelopes queued at the same time are not all tried at the same time. */
const SPREAD = 0.1;
/** Seconds before the end at which the last attempt is made. */
const LAST_ATTEMPT = 1800;
/** Periods for which an address is suppressed after permanent failures in a row. Seconds. */
export const SUPPRESSION_LADDER: readonly number[] = [7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY, 90 * DAY];

/**
 * Epoch seconds of the next attempt after `envelope.attempts` of them; null when it has expired. The wait is spread by
 * the envelope's id, so that it is the same after a restart; the last attempt is half an hour before the end.
 */
export function nextAttempt(envelope: Envelope, config: Config, now: number): number | null {
  if (now >= envelope.expiresAt) return null;
  const waits = config.deliver.retry;
  const wait = waits[Math.min(envelope.attempts - 1, waits.length - 1)]! / 1000;
  const share =
    createHash("sha256").update(`${envelope.id}|${envelope.attempts}`).digest().readUInt32BE(0) / 0xffffffff;
  const next = Math.round(now + wait * (1 - SPREAD + 2 * SPREAD * share));
  if (next < envelope.expiresAt) return next;
  const last = envelope.expiresAt - LAST_ATTEMPT;
  return last > now ? last : envelope.expiresAt;
}

/** True for replies that say that the address cannot receive mail (RFC 3463 3.2; codes at RCPT). */
export function blamesAddress(code: number | null, enhanced: string | null, stage: string): boolean {
  if (enhanced !== null && /^5\.(?:1\.\d{1,3}|2\.1)$/.test(enhanced)) return true;
  return stage.startsWith("rcpt") && enhanced === null && [550, 551, 553, 556].includes(code ?? 0);
}
