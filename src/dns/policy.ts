/** DMARC policy records and the tree walk (RFC 9989 4.7, 4.8, 4.10). */
import { normalizeDomain } from "../model/domain-name.ts";
import type { PolicyWord } from "../model/evaluation.ts";
import type { DnsFailure, Resolver } from "./resolver.ts";

export interface DmarcRecordTags {
  readonly p: PolicyWord;
  readonly sp: PolicyWord | null;
  readonly np: PolicyWord | null;
  readonly adkim: "r" | "s";
  readonly aspf: "r" | "s";
  readonly fo: string;
  readonly t: "y" | "n";
  readonly psd: "y" | "n" | "u";
  /** URIs as written, in order. */
  readonly rua: readonly string[];
  readonly ruf: readonly string[];
}

const POLICIES = new Set(["none", "quarantine", "reject"]);
/** At most this many questions in one walk (RFC 9989 4.10). */
const LONGEST_WALK = 8;

/** Tags of `name=value; …`; undefined when the text does not begin with the version (case-sensitive). */
function tagsOf(text: string, version: string): Map<string, string> | undefined {
  if (!new RegExp(`^v\\s*=\\s*${version}\\s*(?:;|$)`).test(text)) return undefined;
  const tags = new Map<string, string>();
  for (const part of text.split(";").slice(0, 100)) {
    const equals = part.indexOf("=");
    if (equals < 0) continue;
    const name = part.slice(0, equals).trim().toLowerCase();
    if (!tags.has(name)) tags.set(name, part.slice(equals + 1).trim());
  }
  return tags;
}

const uriList = (value: string | undefined): string[] =>
  (value ?? "")
    .split(",")
    .map((uri) => uri.trim())
    .filter((uri) => uri !== "");

/**
 * Parses one TXT record; undefined when it is no DMARC record or asks for nothing: unknown tags are ignored, bad
 * values take their defaults, and a bad policy is `none` where there is a rua (RFC 9989 4.7, 4.10.1).
 */
export function parseDmarcRecord(text: string): DmarcRecordTags | undefined {
  const tags = tagsOf(text, "DMARC1");
  if (!tags) return undefined;
  const word = (name: string): PolicyWord | null => {
    const value = tags.get(name)?.toLowerCase();
    return value !== undefined && POLICIES.has(value) ? (value as PolicyWord) : null;
  };
  const oneOf = <T extends string>(name: string, values: readonly T[], fallback: T): T =>
    values.find((v) => v === tags.get(name)?.toLowerCase()) ?? fallback;
  const rua = uriList(tags.get("rua"));
  const p = word("p");
  const broken =
    p === null || (tags.has("sp") && word("sp") === null) || (tags.has("np") && word("np") === null);
  if (broken && rua.length === 0) return undefined;
  const fo = tags.get("fo") ?? "0";
  return {
    p: broken ? "none" : p!,
    sp: broken ? null : word("sp"),
    np: broken ? null : word("np"),
    adkim: oneOf("adkim", ["r", "s"], "r"),
    aspf: oneOf("aspf", ["r", "s"], "r"),
    fo: /^[01ds](?::[01ds])*$/.test(fo) ? fo : "0",
    t: oneOf("t", ["y", "n"], "n"),
    psd: oneOf("psd", ["y", "n", "u"], "u"),
    rua,
    ruf: uriList(tags.get("ruf")),
  };
}

export type PolicyAt =
  | { readonly found: true; readonly domain: string; readonly record: DmarcRecordTags }
  | { readonly found: false; readonly failure: DnsFailure | null };

/** The DMARC record at exactly one name; several are none (RFC 9989 4.10). */
export async function policyAt(resolver: Resolver, domain: string): Promise<PolicyAt> {
  const answer = await resolver.txt(`_dmarc.${domain}`);
  if (!answer.ok) return { found: false, failure: answer.code === "temporary" ? answer : null };
  const candidates = answer.records.filter((text) => tagsOf(text, "DMARC1") !== undefined);
  if (candidates.length !== 1) return { found: false, failure: null };
  const record = parseDmarcRecord(candidates[0]!);
  return record ? { found: true, domain, record } : { found: false, failure: null };
}

/** The names a tree walk asks, from the domain itself up; long names are cut to seven labels (RFC 9989 4.10). */
export function walkNames(domain: string): string[] {
  const labels = domain.split(".");
  const names = [domain];
  let rest = labels.length > LONGEST_WALK - 1 ? labels.slice(-(LONGEST_WALK - 1)) : labels.slice(1);
  while (rest.length > 0 && names.length < LONGEST_WALK) {
    names.push(rest.join("."));
    rest = rest.slice(1);
  }
  return names;
}

/** All records on the way up, the lowest first; the walk stops at psd=y or psd=n. A temporary failure ends it. */
async function walk(
  resolver: Resolver,
  domain: string,
): Promise<{
  readonly found: readonly { domain: string; record: DmarcRecordTags }[];
  readonly failure: DnsFailure | null;
}> {
  const found: { domain: string; record: DmarcRecordTags }[] = [];
  for (const name of walkNames(domain)) {
    const at = await policyAt(resolver, name);
    if (!at.found) {
      if (at.failure) return { found, failure: at.failure };
      continue;
    }
    found.push({ domain: at.domain, record: at.record });
    if (at.record.psd !== "u") break;
  }
  return { found, failure: null };
}

export type Organizational =
  | { readonly ok: true; readonly domain: string }
  | { readonly ok: false; readonly failure: DnsFailure };

/** The organizational domain of a name, by tree walk (RFC 9989 4.10.2). */
export async function organizationalDomain(resolver: Resolver, name: string): Promise<Organizational> {
  const domain = normalizeDomain(name) ?? name.toLowerCase();
  const { found, failure } = await walk(resolver, domain);
  if (failure) return { ok: false, failure };
  const ended = found.find((f) => f.record.psd === "n");
  if (ended) return { ok: true, domain: ended.domain };
  const suffix = found.find((f) => f.record.psd === "y" && f.domain !== domain);
  if (suffix) {
    const labels = domain.split(".");
    return { ok: true, domain: labels.slice(-(suffix.domain.split(".").length + 1)).join(".") };
  }
  const highest = found.filter((f) => f.record.psd === "u").at(-1);
  return { ok: true, domain: highest?.domain ?? domain };
}

/** The policy that applies to an author domain: its own record, else its organizational domain's (RFC 9989 4.10.1). */
export async function discoverPolicy(resolver: Resolver, authorDomain: string): Promise<PolicyAt> {
  const domain = normalizeDomain(authorDomain) ?? authorDomain.toLowerCase();
  const own = await policyAt(resolver, domain);
  if (own.found || own.failure) return own;
  const organization = await organizationalDomain(resolver, domain);
  if (!organization.ok) return { found: false, failure: organization.failure };
  return organization.domain === domain
    ? { found: false, failure: null }
    : policyAt(resolver, organization.domain);
}
