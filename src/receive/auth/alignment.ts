/** From evidence to verdict: identifier alignment, strict or relaxed, by the tree walk (RFC 9989 4.4, 4.10). */
import { type DmarcRecordTags, discoverPolicy, organizationalDomain } from "../../dns/policy.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { isWithin } from "../../model/domain-name.ts";
import type { MessageAuth } from "../../model/message-auth.ts";
import type { DkimEvidence, Evidence } from "./evidence.ts";

const LONGEST_DETAIL = 500;

/** Whether a domain is aligned with the author domain; `unknown` when DNS gives no answer now. */
export type Alignment = "yes" | "no" | "unknown";

/** Returns a function that checks alignment with one author domain. */
export function aligner(
  resolver: Resolver,
  author: string,
): (domain: string, mode: "r" | "s" | null) => Promise<Alignment> {
  let own: ReturnType<typeof organizationalDomain> | undefined;
  return async (domain, mode) => {
    if (domain === author) return "yes";
    if (mode === "s") return "no";
    own ??= organizationalDomain(resolver, author);
    const organization = await own;
    if (!organization.ok) return "unknown";
    // an organizational domain is always at or above the name: others need not be asked
    if (!isWithin(domain, organization.domain)) return "no";
    const theirs = await organizationalDomain(resolver, domain);
    if (!theirs.ok) return "unknown";
    if (theirs.domain !== organization.domain) return "no";
    return mode === null ? "unknown" : "yes"; // the policy may ask for strict alignment
  };
}

/** One identifier with its result and alignment. */
interface Identifier {
  readonly result: "pass" | "fail" | "none" | "temperror";
  readonly aligned: Alignment;
}

const hasPassed = (list: readonly Identifier[]): boolean =>
  list.some((i) => i.result === "pass" && i.aligned === "yes");
/** It might have passed if DNS had answered. */
const isOpen = (list: readonly Identifier[]): boolean =>
  list.some(
    (i) =>
      (i.result === "temperror" && i.aligned !== "no") || (i.result === "pass" && i.aligned === "unknown"),
  );

/**
 * The verdict on a mail of this author domain. Pass: SPF or DKIM passed for an aligned domain (as DMARC asks). Fail:
 * there is a DMARC record or something was checked, and nothing aligned passed. None: nothing to check.
 * Temperror: DNS gave no answer now; it never replaces a pass, and is never a fail.
 */
export async function verdictOn(
  resolver: Resolver,
  author: string,
  evidence: Evidence,
): Promise<MessageAuth> {
  const { spf, dkim } = evidence;
  const found = await discoverPolicy(resolver, author);
  const failed = !found.found && found.failure !== null;
  const record = found.found ? found.record : undefined;
  const align = aligner(resolver, author);
  const mode = (tag: "adkim" | "aspf"): "r" | "s" | null => (failed ? null : (record?.[tag] ?? "r"));
  const signatures: (Identifier & DkimEvidence)[] = [];
  for (const one of dkim) {
    signatures.push({ ...one, aligned: await align(one.domain, mode("adkim")) });
  }
  const sender: Identifier[] =
    spf.domain === null ? [] : [{ result: spf.result, aligned: await align(spf.domain, mode("aspf")) }];
  const identifiers = [...signatures.filter((s) => s.mail), ...sender];
  const decided = dmarcVerdict(identifiers, evidence, record, failed);
  const forTls = signatures.filter((s) => s.tlsrpt);
  return {
    verdict: decided,
    domain: author,
    dkimDomains: [...new Set(dkim.filter((d) => d.result === "pass").map((d) => d.domain))],
    tls: hasPassed(forTls) ? "pass" : isOpen(forTls) ? "temperror" : decided === "none" ? "none" : "fail",
    by: evidence.by,
    detail: describe(evidence, record, failed),
  };
}

function dmarcVerdict(
  identifiers: readonly Identifier[],
  { spf, dkim, dmarc }: Evidence,
  record: DmarcRecordTags | undefined,
  failed: boolean,
): MessageAuth["verdict"] {
  if (dmarc !== null) return dmarc;
  if (hasPassed(identifiers)) return "pass";
  if (failed || isOpen(identifiers)) return "temperror";
  const checked = dkim.length > 0 || spf.result === "fail" || spf.result === "pass";
  return record !== undefined || checked ? "fail" : "none";
}

function describe(evidence: Evidence, record: DmarcRecordTags | undefined, failed: boolean): string {
  const { spf, dkim, dmarc, notes } = evidence;
  const policy = record ? `policy ${record.p}` : failed ? "policy unknown" : "no policy";
  const parts = [
    `spf=${spf.result}${spf.domain === null ? "" : ` ${spf.domain}`}`,
    ...(dkim.length === 0 ? ["dkim=none"] : dkim.map((d) => `dkim=${d.result} ${d.domain}`)),
    ...(dmarc === null ? [] : [`dmarc=${dmarc}`]),
    policy,
    ...notes,
  ];
  return parts.join("; ").slice(0, LONGEST_DETAIL);
}
