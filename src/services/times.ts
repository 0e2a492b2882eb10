/** Times that callers give. */
import { MailreportError } from "../lib/errors.ts";

/** Seconds by which a time may be in the past and is still meant as now. */
const NOW_ROOM = 60;

/** The time for which something is to be scheduled, at least `now`. Errors: `request.invalid` for one in the past. */
export function scheduledTime(at: number, now: number): number {
  if (at < now - NOW_ROOM)
    throw new MailreportError("request.invalid", { detail: "the time is in the past" });
  return Math.max(at, now);
}
