/** The outcome of a mail, from the result of parsing it. Pure. */
import { NOTES, type Outcome, type Reason } from "./outcome.ts";
import type { ItemResult, MailReading } from "./reading.ts";

export interface MailOutcome {
  readonly outcome: Outcome;
  readonly reason: Reason | null;
  readonly detail: string | null;
}

/** Reasons of a mail in which no part is labelled as a report or looks like one. */
const NO_CLAIM: ReadonlySet<Reason> = new Set(["no-report", "auto-reply", "too-deep", "too-many-parts"]);

/** What was parsed from a mail, and what became of its reports. */
export interface MailResult extends Pick<MailReading, "reason" | "detail"> {
  readonly items: readonly ItemResult[];
}

/**
 * The outcome of a mail: that of its best report, `partial` when other parts failed. A mail in which
 * nothing looks like a report is `not-a-report`; one whose reports are all unusable is `invalid` with the first reason.
 */
export function mailOutcome(reading: MailResult): MailOutcome {
  const good = reading.items.filter((item) => item.ok).filter((item) => item.kept !== "refused");
  const bad = reading.items.filter((item) => !item.ok);
  if (good.length === 0) {
    const first = bad[0];
    if (first) return { outcome: "invalid", reason: first.reason, detail: first.detail };
    const reason = reading.reason ?? "no-report";
    return { outcome: NO_CLAIM.has(reason) ? "not-a-report" : "invalid", reason, detail: reading.detail };
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
  const warned = fresh.some((item) => item.figures.warnings.some(({ code }) => !NOTES.has(code)));
  return { outcome: warned ? "imported-with-warnings" : "imported", reason: null, detail: null };
}
