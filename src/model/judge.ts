/** From what was read in a mail to the one outcome it ends with. Pure. */
import type { Outcome, Reason } from "./outcome.ts";
import type { MailReading } from "./reading.ts";

export interface Verdict {
  readonly outcome: Outcome;
  readonly reason: Reason | null;
  readonly detail: string | null;
}

/**
 * The outcome of a mail: the best of its reports, marked down when other parts failed. A mail with nothing that
 * claims to be a report is `not-a-report`; one whose reports are all unusable is `invalid` with the first reason.
 */
export function judge(reading: MailReading): Verdict {
  const good = reading.items.filter((item) => item.ok).filter((item) => item.kept !== "refused");
  const bad = reading.items.filter((item) => !item.ok);
  if (good.length === 0) {
    const first = bad[0];
    if (first) return { outcome: "invalid", reason: first.reason, detail: first.detail };
    const reason = reading.reason ?? "no-report";
    const outcome = reason === "no-report" || reason === "auto-reply" ? "not-a-report" : "invalid";
    return { outcome, reason, detail: reading.detail };
  }
  const fresh = good.filter((item) => item.kept === "new");
  if (fresh.length === 0) {
    const conflict = good.some((item) => item.kept === "conflict");
    return conflict
      ? { outcome: "duplicate-conflict", reason: "conflict", detail: null }
      : { outcome: "duplicate", reason: "duplicate", detail: null };
  }
  if (bad.length > 0) return { outcome: "partial", reason: bad[0]!.reason, detail: bad[0]!.detail };
  if (fresh.some((item) => item.figures.droppedRecords > 0)) {
    return { outcome: "partial", reason: null, detail: null };
  }
  const warned = reading.warnings.length > 0 || fresh.some((item) => item.figures.warnings.length > 0);
  return { outcome: warned ? "imported-with-warnings" : "imported", reason: null, detail: null };
}
