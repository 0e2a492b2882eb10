/** What stands between an outgoing report and its sending that needs no look-up; in the order in which it is asked. */
import type { Config } from "../config/schema.ts";
import type { SigningKey } from "../format/mail/dkim-sign.ts";
import { iso } from "../lib/units.ts";
import { isWithin } from "../model/domain-name.ts";
import type { DropReason, OutgoingReport } from "../model/outgoing.ts";

/** One check on the way of a report, for `report explain`. */
export interface Check {
  readonly check: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** A check and what becomes of a report that does not pass it. */
export interface LocalCheck extends Check {
  readonly drop: DropReason;
}

/** @param now epoch seconds */
export function localChecks(
  report: OutgoingReport,
  { report: settings, receive }: Config,
  keys: readonly SigningKey[],
  now: number,
): LocalCheck[] {
  const { messages, reportable, wanted, policyDomain, kind } = report;
  const oldest = now - Math.floor(settings.max_age / 1000);
  const ours = settings.skip_local ? receive.domains.find((each) => isWithin(policyDomain, each)) : undefined;
  const names = keys.map((key) => `${key.selector}._domainkey.${key.domain}`).join(", ");
  return [
    {
      check: "age",
      ok: report.end >= oldest,
      detail: `ended ${iso(report.end)}, may be sent when after ${iso(oldest)}`,
      drop: "expired",
    },
    {
      check: "not one of our own domains",
      ok: ours === undefined,
      detail: ours === undefined ? policyDomain : `${policyDomain} belongs to ${ours}`,
      drop: "local",
    },
    {
      check: "mail that asks for a report",
      ok: reportable > 0,
      detail: `${reportable} of ${messages}`,
      drop: "optional-only",
    },
    {
      check: "not only spam that passed",
      ok: wanted > 0 || !settings.skip_spam_only,
      detail: `${wanted} of ${reportable}`,
      drop: "spam-only",
    },
    {
      check: "signing key",
      // RFC 8460 3: TLS reports must be signed
      ok: keys.length > 0 || (kind === "dmarc" && settings.unsigned),
      detail: names || "none",
      drop: "unsigned",
    },
  ];
}
