/** Address patterns of the configuration: `user@domain`, `@domain`, `prefix*@domain`, `prefix*`. */
import { normalizeDomain } from "./domain-name.ts";

interface Pattern {
  /** Lower case; with a star at its end it is a prefix. "" is any local part. */
  readonly local: string;
  /** null is any domain. */
  readonly domain: string | null;
}

/**
 * True for addresses (`user@domain`) that match one of the patterns, without regard to case; `user@domain` stands for
 * `user+tag@domain` too. An address without local part (`@domain`) matches only patterns of the whole domain.
 */
export function addressMatcher(patterns: readonly string[]): (address: string) => boolean {
  const read = patterns.flatMap((text) => readPattern(text) ?? []);
  return (address) => {
    const at = address.lastIndexOf("@");
    if (at < 0) return false;
    const domain = normalizeDomain(address.slice(at + 1));
    const local = address.slice(0, at).toLowerCase();
    return domain !== undefined && read.some((pattern) => matches(pattern, local, domain));
  };
}

function readPattern(text: string): Pattern | undefined {
  const at = text.lastIndexOf("@");
  const local = (at < 0 ? text : text.slice(0, at)).toLowerCase();
  if (at < 0) return { local, domain: null };
  const domain = normalizeDomain(text.slice(at + 1));
  return domain === undefined ? undefined : { local, domain };
}

function matches(pattern: Pattern, local: string, domain: string): boolean {
  if (pattern.domain !== null && pattern.domain !== domain) return false;
  if (pattern.local === "") return true;
  if (local === "") return false;
  if (pattern.local.endsWith("*")) return local.startsWith(pattern.local.slice(0, -1));
  return local === pattern.local || local.startsWith(`${pattern.local}+`);
}
