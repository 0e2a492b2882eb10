/** Addresses that accept report mail, and their kinds of reports (RFC 5321 4.5.1: postmaster always). */
import type { Config } from "../config/schema.ts";
import { normalizeDomain } from "../model/domain-name.ts";
import { REPORT_KINDS, type ReportKind } from "../model/report.ts";

type Rule = {
  readonly kinds: readonly ReportKind[];
  readonly matches: (local: string, domain: string) => boolean;
};

/** Returns the kinds that an address accepts; empty = any kind; undefined when it accepts no mail. */
export type RecipientTable = (address: string) => readonly ReportKind[] | undefined;

/** Rules in the order of the configuration; the first that matches decides. */
export function recipientTable(config: Config, isReturnPath: (address: string) => boolean): RecipientTable {
  const rules = config.recipient.map((entry): Rule => {
    const kinds = entry.kinds.includes("any")
      ? []
      : REPORT_KINDS.filter((kind) => entry.kinds.includes(kind));
    return { kinds, matches: matcher(entry.address) };
  });
  return (address) => {
    const at = address.lastIndexOf("@");
    const local = (at < 0 ? address : address.slice(0, at)).toLowerCase();
    const domain = at < 0 ? "" : (normalizeDomain(address.slice(at + 1)) ?? "");
    // source routes, %-hacks and bang paths name other hosts
    if (/[%!:@]/.test(local)) return undefined;
    for (const rule of rules) if (rule.matches(local, domain)) return rule.kinds;
    if (local === "postmaster") return [];
    return isReturnPath(address) ? ["dsn"] : undefined;
  };
}

function matcher(pattern: string): Rule["matches"] {
  const at = pattern.lastIndexOf("@");
  const wantedLocal = (at < 0 ? pattern : pattern.slice(0, at)).toLowerCase();
  const wantedDomain = at < 0 ? undefined : normalizeDomain(pattern.slice(at + 1));
  const sameDomain = (domain: string): boolean => wantedDomain === undefined || domain === wantedDomain;
  if (wantedLocal === "") return (_local, domain) => sameDomain(domain);
  if (wantedLocal.endsWith("*")) {
    const prefix = wantedLocal.slice(0, -1);
    return (local, domain) => sameDomain(domain) && local.startsWith(prefix);
  }
  return (local, domain) =>
    sameDomain(domain) && (local === wantedLocal || local.startsWith(`${wantedLocal}+`));
}
