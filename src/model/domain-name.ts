/** Domain names: A-labels, lower case, no trailing dot (RFC 5890, RFC 9989 4.4). */
import { domainToASCII } from "node:url";

const LABELS =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/** Canonical form of a domain name as people and reporters write it; undefined when it is none. */
export function normalizeDomain(text: string): string | undefined {
  let name = text.trim().toLowerCase();
  if (name.endsWith(".")) name = name.slice(0, -1);
  if (LABELS.test(name)) return name;
  if (name.length > 1000 || /^[\x00-\x7f]*$/.test(name)) return undefined;
  const ascii = name
    .split(/[.\u3002\uff0e\uff61]/)
    .map((label) => (label.startsWith("_") && /^[\x00-\x7f]+$/.test(label) ? label : domainToASCII(label)))
    .join(".");
  return LABELS.test(ascii) ? ascii : undefined;
}

/** True when `name` is `parent` or below it; both canonical. */
export function isWithin(name: string, parent: string): boolean {
  return name === parent || name.endsWith(`.${parent}`);
}

const LOCAL =
  /^(?:[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e]){0,62}")$/i;

export interface MailAddress {
  /** As given; case kept (RFC 5321 2.4). */
  readonly local: string;
  /** Canonical. */
  readonly domain: string;
}

/**
 * One address of RFC 5321 4.1.2 (dot-atom or quoted local part, domain name; no address literal), at most 254
 * octets. Undefined for anything else: lists, groups, routes, comments, control characters.
 */
export function parseAddress(text: string): MailAddress | undefined {
  const at = text.lastIndexOf("@");
  if (at < 1 || text.length > 320) return undefined;
  const local = text.slice(0, at);
  const domain = normalizeDomain(text.slice(at + 1));
  if (domain === undefined || local.length > 64 || !LOCAL.test(local)) return undefined;
  if (/\s/.test(text.slice(at + 1)) || local.length + 1 + domain.length > 254) return undefined;
  return { local, domain };
}
