/** The policies of the configuration for report mail: what counts, and how long it is kept. */
import type { Config } from "../config/schema.ts";
import type { ReceivePolicy } from "../model/counting.ts";
import { authFor, type MessageAuth } from "../model/message-auth.ts";
import { REPORT_KINDS, type ReportKind } from "../model/report.ts";
import { countedWithin, type RetentionPolicy } from "../model/retention.ts";

/** The receive policy of a configuration, as the archive enforces it. */
export function receivePolicy(config: Config): ReceivePolicy {
  const { receive } = config;
  return {
    domains: receive.domains,
    requireAuth: receive.require_auth,
    countUnverified: receive.count_unverified,
    verifies: receive.verify || receive.authserv_ids.length > 0,
    countedWithin: countedWithin(retentionPolicy(config)),
  };
}

/** How long data of the archive is kept. */
export function retentionPolicy({ retention }: Config): RetentionPolicy {
  return {
    raw: retention.raw / 1000,
    failedRaw: retention.failed / 1000,
    records: retention.records / 1000,
    feedback: retention.feedback / 1000,
    mails: retention.mails / 1000,
    sums: retention.sums / 1000,
  };
}

/**
 * The verdict for which a mail would be refused, before its reports are known: a kind that its address accepts requires
 * authentication, and the mail has none for it. `temperror`: it may have some later. Undefined: it is not refused.
 * @param kinds kinds that the address accepts; empty = any
 */
export function refusalBefore(
  { receive }: Config,
  kinds: readonly ReportKind[],
  auth: MessageAuth,
): "temperror" | "fail" | undefined {
  const asked = REPORT_KINDS.filter(
    (kind) =>
      receive.require_auth[kind] === "reject" &&
      (kinds.length === 0 || kinds.includes(kind)) &&
      authFor(kind, auth) !== "pass",
  );
  if (asked.length === 0) return undefined;
  return asked.some((kind) => authFor(kind, auth) === "temperror") ? "temperror" : "fail";
}
