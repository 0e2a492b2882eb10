/** The words and numbers of DMARC reports, normalised as reporters write them (RFC 9990 3.1.1, RFC 7489 C). */

import { normalizeDomain } from "../../model/domain-name.ts";
import type { WarningList } from "../../model/outcome.ts";
import type { AuthResultWord, Disposition, Evaluated, OverrideReason } from "../../model/report.ts";

/** A normalised value, and what was sent where it differs. */
export interface Normalised<T> {
  readonly value: T;
  readonly raw: string | undefined;
}

const PLAIN_AUTH = new Set([
  "none",
  "pass",
  "fail",
  "softfail",
  "policy",
  "neutral",
  "temperror",
  "permerror",
]);
/** RFC 7489 appendix C names TempError "unknown" and PermError "error"; an empty result of an empty check is none. */
const OLD_WORDS: Readonly<Record<string, AuthResultWord>> = {
  unknown: "temperror",
  error: "permerror",
  invalid: "permerror",
  "": "none",
};

/** A DKIM or SPF result word. */
export function authResult(text: string, warnings: WarningList): Normalised<AuthResultWord> {
  if (PLAIN_AUTH.has(text)) return { value: text as AuthResultWord, raw: undefined };
  const word = text.toLowerCase();
  if (PLAIN_AUTH.has(word)) return { value: word as AuthResultWord, raw: text };
  if (Object.hasOwn(OLD_WORDS, word)) return { value: OLD_WORDS[word]!, raw: text };
  warnings.add("auth-result-unknown", text);
  return { value: word === "hardfail" ? "fail" : "unknown", raw: text };
}

/** An evaluated result; whatever is neither pass nor fail is unknown, never pass (RFC 9990 8.2). */
export function evaluated(text: string, warnings?: WarningList): Normalised<Evaluated> {
  if (text === "pass" || text === "fail") return { value: text, raw: undefined };
  const word = text.toLowerCase();
  if (word === "pass" || word === "fail") return { value: word, raw: text };
  if (word !== "none") warnings?.add("evaluation-unknown", text); // nothing was evaluated, so there is nothing to warn about
  return { value: "unknown", raw: text };
}

const DISPOSITIONS = new Set(["none", "pass", "quarantine", "reject"]);

/** A disposition; RFC 9990 has `pass` too. */
export function disposition(text: string, warnings?: WarningList): Normalised<Disposition> {
  if (DISPOSITIONS.has(text)) return { value: text as Disposition, raw: undefined };
  const word = text.toLowerCase();
  if (DISPOSITIONS.has(word)) return { value: word as Disposition, raw: text };
  warnings?.add("disposition-unknown", text);
  return { value: "unknown", raw: text };
}

const REASONS = new Set([
  "forwarded",
  "sampled_out",
  "trusted_forwarder",
  "mailing_list",
  "local_policy",
  "policy_test_mode",
  "other",
]);

/** The type of an override reason (RFC 9990 3.1.6, RFC 7489 C). */
export function reasonType(text: string, warnings: WarningList): Normalised<OverrideReason["type"]> {
  const word = text.toLowerCase();
  if (REASONS.has(word))
    return { value: word as OverrideReason["type"], raw: word === text ? undefined : text };
  if (text !== "") warnings.add("reason-unknown", text);
  return { value: "other", raw: text };
}

/** p, sp, np: null for absent, empty and meaningless words. */
export function policyWord(text: string): Normalised<"none" | "quarantine" | "reject" | null> {
  const word = text.toLowerCase();
  if (word === "none" || word === "quarantine" || word === "reject") {
    return { value: word, raw: word === text ? undefined : text };
  }
  return { value: null, raw: text === "" ? undefined : text };
}

/** adkim, aspf. */
export function alignmentMode(text: string): Normalised<"r" | "s" | null> {
  const word = text.toLowerCase();
  const value = word === "r" || word === "relaxed" ? "r" : word === "s" || word === "strict" ? "s" : null;
  return { value, raw: text === "" || text === value ? undefined : text };
}

/** pct: "100", "100%". */
export function percentage(text: string): Normalised<number | null> {
  const match = /^(\d{1,3})\s*%?$/.exec(text);
  const value = match && Number(match[1]) <= 100 ? Number(match[1]) : null;
  return { value, raw: text === "" || text === String(value) ? undefined : text };
}

/** A count: a whole number up to 2^53, also written "1.0"; undefined for anything else. */
export function recordCount(text: string, warnings: WarningList): number | undefined {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const match = /^\+?(\d{1,16})(?:\.0{1,10})?$/.exec(text);
  if (!match) return undefined;
  const value = Number(match[1]);
  if (!Number.isSafeInteger(value)) return undefined;
  warnings.add("count-format", text);
  return value;
}

/**
 * A date: epoch seconds, also with a fraction or in milliseconds, or ISO 8601. Undefined when it is none of these
 * or zero.
 */
export function epochOf(text: string, warnings: WarningList): number | undefined {
  if (/^\d{1,11}$/.test(text)) return Number(text) || undefined;
  const number = /^(\d{1,14})(?:\.\d{1,12})?$/.exec(text);
  if (number) {
    const value = Number(number[1]);
    if (value < 1e12) return value || undefined; // a fraction of a second is cut
    warnings.add("date-format", text);
    return Math.floor(value / 1000);
  }
  if (!/^\d{4}-\d\d-\d\d/.test(text) || text.length > 40) return undefined;
  const zoned = /(?:z|[+-]\d\d:?\d\d)$/i.test(text) || text.length === 10;
  const ms = Date.parse(zoned ? text.replace(" ", "T") : `${text.replace(" ", "T")}Z`);
  if (Number.isNaN(ms) || ms <= 0) return undefined;
  warnings.add("date-format", text);
  return Math.floor(ms / 1000);
}

/** The records of a report have few different names; their canonical forms are cached. */
const canonical = new Map<string, string>();
const MOST_REMEMBERED = 1000;

/** A domain of a record: canonical where it can be, else as sent in lower case. An address gives its domain. */
export function identifier(text: string, warnings: WarningList): string {
  const known = canonical.get(text);
  if (known !== undefined) return known;
  const name = readIdentifier(text, warnings);
  if (!text.includes("@")) {
    if (canonical.size >= MOST_REMEMBERED) canonical.clear();
    canonical.set(text, name);
  }
  return name;
}

function readIdentifier(text: string, warnings: WarningList): string {
  let name = text;
  if (name.includes("@")) {
    warnings.add("identifier-address", text);
    name = name.slice(name.lastIndexOf("@") + 1).replace(/>.*$/, "");
  }
  return normalizeDomain(name) ?? name.toLowerCase();
}

/** An e-mail address out of `<a@b>`, `mailto:a@b` and the like. */
export function contactAddress(text: string, warnings: WarningList): string | null {
  const bare = text
    .replace(/^mailto:/i, "")
    .replace(/^[^<]*<([^<>]*)>.*$/, "$1")
    .replace(/^<|>$/g, "")
    .trim();
  if (bare !== text) warnings.add("email-repaired", text);
  return bare === "" ? null : bare;
}
