/** Checks whether an external destination has agreed to receive the DMARC reports of a domain (RFC 9990 4). */
import { organizationalDomain } from "./policy.ts";
import type { Resolver } from "./resolver.ts";
import { type ReportUri, readUris } from "./uri.ts";

export type Authorization = "internal" | "authorised" | "overridden" | "unauthorised" | "temporary";

export interface Destination {
  readonly uri: ReportUri;
  readonly verdict: Authorization;
  readonly detail: string;
  /** Where to send; the given URI, or those the destination puts in its place. Empty unless it has agreed. */
  readonly send: readonly ReportUri[];
}

const LONGEST_NAME = 253;

/** Checks each destination; a temporary failure of one delays only that one. */
export async function authorizeDestinations(
  resolver: Resolver,
  policyDomain: string,
  uris: readonly ReportUri[],
): Promise<Destination[]> {
  return Promise.all(uris.map((uri) => authorize(resolver, policyDomain, uri)));
}

async function authorize(resolver: Resolver, policyDomain: string, uri: ReportUri): Promise<Destination> {
  const internal = await sameOrganization(resolver, policyDomain, uri.host);
  if (internal === "temporary")
    return { uri, verdict: "temporary", detail: "the organizational domain is not known now", send: [] };
  if (internal) return { uri, verdict: "internal", detail: "same organizational domain", send: [uri] };
  const name = `${policyDomain}._report._dmarc.${uri.host}`;
  if (name.length > LONGEST_NAME)
    return { uri, verdict: "unauthorised", detail: `${name}: too long`, send: [] };
  const answer = await resolver.txt(name);
  if (!answer.ok) {
    const temporary = answer.code === "temporary";
    return {
      uri,
      verdict: temporary ? "temporary" : "unauthorised",
      detail: `${name}: ${answer.code}`,
      send: [],
    };
  }
  const records = answer.records.filter((text) => /^v\s*=\s*DMARC1\s*(?:;|$)/.test(text));
  if (records.length === 0) return { uri, verdict: "unauthorised", detail: `${name}: no v=DMARC1`, send: [] };
  const override = records
    .map((text) => /;\s*rua\s*=\s*([^;]+)/i.exec(text)?.[1])
    .find((rua) => rua !== undefined);
  if (override === undefined) return { uri, verdict: "authorised", detail: name, send: [uri] };
  const { usable } = readUris(override.split(","), false);
  // another host than the one that agreed: neither address may be used (RFC 9990 4, step 9)
  if (usable.length === 0 || usable.some((other) => other.host !== uri.host)) {
    return { uri, verdict: "unauthorised", detail: `${name}: its rua names another host`, send: [] };
  }
  return { uri, verdict: "overridden", detail: name, send: usable };
}

async function sameOrganization(resolver: Resolver, a: string, b: string): Promise<boolean | "temporary"> {
  if (a === b) return true;
  const [left, right] = await Promise.all([
    organizationalDomain(resolver, a),
    organizationalDomain(resolver, b),
  ]);
  if (!left.ok || !right.ok) return "temporary";
  return left.domain === right.domain;
}
