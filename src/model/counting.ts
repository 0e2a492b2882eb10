/** Which reports are kept, and which of them count: pure rules, whatever store they are kept in. */
import { isWithin } from "./domain-name.ts";
import { authFor, type MessageAuth } from "./message-auth.ts";
import type { FailedItem, ReadHints } from "./reading.ts";
import type { ReportKind } from "./report.ts";
import { domainsOf, type StagedContent, type StagedMail, type StagedReport } from "./staged.ts";

/** Which reports are kept and counted; from the configuration. */
export interface ReceivePolicy {
  /** Our policy domains; empty: all are ours. */
  readonly domains: readonly string[];
  readonly requireAuth: Readonly<Record<ReportKind, "off" | "flag" | "reject">>;
  /** Kinds of reports that count though their mail was not authenticated. */
  readonly countUnverified: readonly ReportKind[];
  /** Report mails are verified (by us or a trusted server), so that `none` means a failure to authenticate. */
  readonly verifies: boolean;
  /** How long before it is received a report may begin to count, seconds; absent: without a limit. */
  readonly countedWithin?: number;
}

/** What the rules need to know of a mail. */
export interface Received {
  readonly hints: Pick<ReadHints, "receivedAt">;
  /** smtp, lmtp, import, imap. */
  readonly source: string;
  readonly auth: MessageAuth;
  /** Kinds of report that the recipient address accepts; empty = any. */
  readonly kinds: readonly ReportKind[];
}

/** Why a report was refused, though it could be parsed. */
export type Refusal = "unauthenticated" | "wrong-kind";

/** How a report is kept. */
export type Standing =
  | { readonly refusal: Refusal }
  | {
      readonly refusal: null;
      /** About none of our domains. */
      readonly foreign: boolean;
      /** It enters the figures. */
      readonly counted: boolean;
      /** It takes the place of one with the same key that anybody could have sent. */
      readonly authenticated: boolean;
    };

/** Sources of mail that is authenticated. */
const MAILED: ReadonlySet<string> = new Set(["smtp", "lmtp", "imap"]);

/** How a report of this mail is kept. */
export function standingOf(content: StagedContent, mail: Received, policy: ReceivePolicy): Standing {
  const { kind } = content;
  const refusal = refusalOf(kind, mail, policy);
  if (refusal) return { refusal };
  const foreign = isForeign(domainsOf(content), policy);
  const passed = authFor(kind, mail.auth) === "pass";
  return {
    refusal: null,
    foreign,
    counted: !foreign && isTrusted(kind, mail, policy) && !isTooOld(content, mail, policy),
    authenticated: passed && policy.verifies,
  };
}

function refusalOf(kind: ReportKind, mail: Received, { requireAuth }: ReceivePolicy): Refusal | undefined {
  if (mail.kinds.length > 0 && !mail.kinds.includes(kind)) return "wrong-kind";
  if (requireAuth[kind] !== "reject" || !MAILED.has(mail.source)) return undefined;
  return authFor(kind, mail.auth) === "pass" ? undefined : "unauthenticated";
}

function isForeign(domains: readonly string[], { domains: ours }: ReceivePolicy): boolean {
  if (ours.length === 0 || domains.length === 0) return false;
  return !domains.some((domain) => ours.some((own) => isWithin(domain, own)));
}

/** Whether a report may enter the figures; unless told otherwise, TLS reports must be authenticated (RFC 8460 3). */
function isTrusted(kind: ReportKind, mail: Received, policy: ReceivePolicy): boolean {
  if (!policy.verifies || !MAILED.has(mail.source) || policy.requireAuth[kind] === "off") return true;
  return authFor(kind, mail.auth) === "pass" || policy.countUnverified.includes(kind);
}

/** Whether the day sums that it would enter may have expired. */
function isTooOld(content: StagedContent, { hints }: Received, { countedWithin }: ReceivePolicy): boolean {
  if (countedWithin === undefined || (content.kind !== "dmarc" && content.kind !== "tls")) return false;
  return content.head.begin < hints.receivedAt - countedWithin;
}

/** A staged parse result, with how each of its reports is kept. */
export interface JudgedMail extends Omit<StagedMail, "items"> {
  readonly items: readonly (JudgedReport | FailedItem)[];
}

export type JudgedReport = StagedReport & { readonly standing: Standing };

/** Applies the rules to all reports of a mail. */
export function judge(staged: StagedMail, mail: Received, policy: ReceivePolicy): JudgedMail {
  const items = staged.items.map((item) =>
    item.ok ? { ...item, standing: standingOf(item.content, mail, policy) } : item,
  );
  return { ...staged, items };
}
