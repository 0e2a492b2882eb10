/** The mail hosts of a domain (RFC 5321 5.1, RFC 7505). */
import { isSpecialAddress } from "../model/ip.ts";
import type { Resolver } from "./resolver.ts";

export interface MailHost {
  readonly host: string;
  readonly addresses: readonly string[];
}

export type MailHosts =
  | { readonly ok: true; readonly hosts: readonly MailHost[] }
  | { readonly ok: false; readonly temporary: boolean; readonly enhanced: string; readonly text: string };

export interface MailHostOptions {
  readonly family: "any" | "4" | "6";
  /** Also loopback, link-local and private addresses. */
  readonly allowPrivate: boolean;
  /** 0 to 1, for the order of equal preferences. */
  readonly random: () => number;
}

const MOST_HOSTS = 5;
const ADDRESSES_EACH = 2;

/** Hosts in the order in which they are tried. */
export async function mailHosts(
  resolver: Resolver,
  domain: string,
  options: MailHostOptions,
): Promise<MailHosts> {
  const answer = await resolver.mx(domain);
  let names: string[];
  if (answer.ok) {
    if (answer.records.some((mx) => mx.exchange === "" || mx.exchange === ".")) {
      return { ok: false, temporary: false, enhanced: "5.1.10", text: `${domain} takes no mail (null MX)` };
    }
    names = answer.records
      .map((mx) => ({ ...mx, order: options.random() }))
      .sort((a, b) => a.preference - b.preference || a.order - b.order)
      .map((mx) => mx.exchange);
  } else if (answer.code === "nodata") names = [domain];
  else if (answer.code === "nxdomain") {
    return { ok: false, temporary: false, enhanced: "5.1.2", text: `${domain}: no such domain` };
  } else
    return { ok: false, temporary: true, enhanced: "4.4.3", text: `temporary DNS failure: ${answer.detail}` };
  return addressesOf(resolver, domain, names.slice(0, MOST_HOSTS), options);
}

async function addressesOf(
  resolver: Resolver,
  domain: string,
  names: readonly string[],
  { family, allowPrivate }: MailHostOptions,
): Promise<MailHosts> {
  const hosts: MailHost[] = [];
  let temporary = false;
  let special = 0;
  for (const host of names) {
    const families = family === "any" ? ([6, 4] as const) : ([Number(family) as 4 | 6] as const);
    const addresses: string[] = [];
    for (const each of families) {
      const answer = await resolver.addresses(host, each);
      if (!answer.ok) {
        if (answer.code === "temporary") temporary = true;
        continue;
      }
      const usable = answer.records.filter((ip) => allowPrivate || !isSpecialAddress(ip));
      special += answer.records.length - usable.length;
      addresses.push(...usable.slice(0, ADDRESSES_EACH));
    }
    if (addresses.length > 0) hosts.push({ host, addresses });
  }
  if (hosts.length > 0) return { ok: true, hosts };
  if (temporary)
    return {
      ok: false,
      temporary: true,
      enhanced: "4.4.3",
      text: `temporary DNS failure for the hosts of ${domain}`,
    };
  if (special > 0) {
    return {
      ok: false,
      temporary: false,
      enhanced: "5.4.4",
      text: `the hosts of ${domain} have no public address`,
    };
  }
  return { ok: false, temporary: false, enhanced: "5.4.4", text: `the hosts of ${domain} have no address` };
}
