/** When an envelope is tried again, and which failures keep an address from being tried at all for a while. */
import { createHash } from "node:crypto";
import type { Config } from "../config/schema.ts";
import type { Envelope } from "../model/queue.ts";

const DAY = 86_400;
/** Spread of each wait, so that envelopes of one hour do not stay together. */
const SPREAD = 0.1;
/** The last attempt comes this long before the end. */
const LAST_CALL = 1800;
/** How long an address is left alone after failures in a row. */
export const SUPPRESSION_LADDER: readonly number[] = [7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY, 90 * DAY];

/**
 * Epoch seconds of the next attempt after `envelope.attempts` of them; null when it has expired. The wait is spread by
 * the envelope's id, so that a restart changes nothing; the last attempt is half an hour before the end.
 */
export function nextAttempt(envelope: Envelope, config: Config, now: number): number | null {
  if (now >= envelope.expiresAt) return null;
  const waits = config.deliver.retry;
  const wait = waits[Math.min(envelope.attempts - 1, waits.length - 1)]! / 1000;
  const share =
    createHash("sha256").update(`${envelope.id}|${envelope.attempts}`).digest().readUInt32BE(0) / 0xffffffff;
  const next = Math.round(now + wait * (1 - SPREAD + 2 * SPREAD * share));
  if (next < envelope.expiresAt) return next;
  const last = envelope.expiresAt - LAST_CALL;
  return last > now ? last : envelope.expiresAt;
}

/** True for replies that say the address itself is no good (RFC 3463 3.2; codes at RCPT). */
export function blamesAddress(code: number | null, enhanced: string | null, stage: string): boolean {
  if (enhanced !== null && /^5\.(?:1\.\d{1,3}|2\.1)$/.test(enhanced)) return true;
  return stage.startsWith("rcpt") && enhanced === null && [550, 551, 553, 556].includes(code ?? 0);
}
