/** Authentication-Results of trusted upstream MTAs (RFC 8601): which fields are trusted, and their results. */
import type { Field } from "../../format/mail/mime/headers.ts";
import { isWithin, normalizeDomain } from "../../model/domain-name.ts";
import { domainOf } from "./author.ts";
import type { DkimEvidence, Result, SpfEvidence } from "./evidence.ts";

const LONGEST = 16_384;
const MOST_RESULTS = 100;
const MOST_FIELDS = 20;
/** Hops inside the trusted upstream MTA's own system. */
const MOST_HOPS = 5;

export interface AuthResult {
  readonly method: string;
  readonly result: string;
  /** `ptype.property` → value, as written. */
  readonly properties: ReadonlyMap<string, string>;
}

export interface AuthResults {
  /** Lower case. */
  readonly authservId: string;
  readonly results: readonly AuthResult[];
}

/** Parses one field; undefined when it is malformed or of another version (RFC 8601 2.2). Linear in its length. */
export function parseAuthResults(value: string): AuthResults | undefined {
  if (value.length > LONGEST) return undefined;
  const parts = clauses(value);
  const [id, version, ...more] = parts[0] ?? [];
  if (id === undefined || id.includes("=") || more.length > 0) return undefined;
  if (version !== undefined && version !== "1") return undefined;
  const results: AuthResult[] = [];
  for (const words of parts.slice(1, MOST_RESULTS + 1)) {
    const [first, ...rest] = words;
    const equals = first?.indexOf("=") ?? -1;
    if (first === undefined || equals < 1) continue; // `none`
    const properties = new Map<string, string>();
    for (const word of rest) {
      const at = word.indexOf("=");
      const name = word.slice(0, at).toLowerCase();
      if (at > 0 && !properties.has(name)) properties.set(name, word.slice(at + 1));
    }
    results.push({
      method: first.slice(0, equals).split("/", 1)[0]!.toLowerCase(),
      result: first.slice(equals + 1).toLowerCase(),
      properties,
    });
  }
  return { authservId: id.toLowerCase(), results };
}

/** Words of each `;` part: comments gone, quotes resolved, blanks around `=`, `/` and `.` closed up. */
function clauses(value: string): string[][] {
  const parts: string[][] = [[]];
  let word = "";
  let glue = false;
  let depth = 0;
  const push = (): void => {
    if (word !== "") parts.at(-1)!.push(word);
    word = "";
  };
  for (let i = 0; i < value.length; i++) {
    const c = value[i]!;
    if (depth > 0) {
      if (c === "\\") i++;
      else if (c === "(") depth++;
      else if (c === ")") depth--;
    } else if (c === "(") depth = 1;
    else if (c === ";") {
      push();
      parts.push([]);
      glue = false;
    } else if (c === " " || c === "\t") {
      if (!glue && nextIsGlue(value, i)) continue;
      if (!glue) push();
    } else if (c === '"') {
      for (i++; i < value.length && value[i] !== '"'; i++) {
        if (value[i] === "\\") i++;
        word += value[i] ?? "";
      }
      glue = false;
    } else {
      word += c;
      glue = c === "=" || c === "/";
    }
  }
  push();
  return parts;
}

/** A run of blanks before `=`: the word continues. Looks at the next two characters only, so that it stays linear. */
function nextIsGlue(value: string, at: number): boolean {
  return value[at + 1] === "=" || (value[at + 1] === " " && value[at + 2] === "=");
}

/** The results of a trusted upstream MTA, and its id. */
export interface TrustedResults {
  readonly by: string;
  readonly spf: SpfEvidence | null;
  readonly dkim: readonly DkimEvidence[] | null;
  /** Of exactly this author domain. */
  readonly dmarc: "pass" | "fail" | null;
}

/**
 * The trusted results: those of fields with a trusted id that the client, a trusted server, has added. It wrote the
 * topmost Received field; its results are above or directly below that. Fields below a Received field of another server
 * were there before, and anybody may have written them. Of several places the topmost counts.
 */
export function trustedResults(
  fields: readonly Field[],
  trusted: readonly string[],
  author: string,
): TrustedResults | undefined {
  const ids = trusted.map((id) => id.toLowerCase());
  for (const place of trustedPlaces(fields, ids)) {
    const read = place
      .slice(0, MOST_FIELDS)
      .map(({ value }) => parseAuthResults(value))
      .filter((one) => one !== undefined && ids.includes(one.authservId)) as AuthResults[];
    if (read.length === 0) continue;
    const results = read.flatMap((one) => one.results);
    return {
      by: read[0]!.authservId,
      spf: spfOf(results),
      dkim: dkimOf(results),
      dmarc: dmarcOf(results, author),
    };
  }
  return undefined;
}

/** Authentication-Results above the first Received field, then below each that the trusted upstream MTA wrote. */
function trustedPlaces(fields: readonly Field[], ids: readonly string[]): Field[][] {
  const places: Field[][] = [[]];
  for (const field of fields) {
    if (field.name === "authentication-results") places.at(-1)!.push(field);
    else if (field.name === "received") {
      const first = places.length === 1;
      if (places.length > MOST_HOPS || !(first || isOf(field, ids))) break;
      places.push([]);
    }
  }
  return places;
}

/** The `by` clause names a host of a trusted id (or the id a host in the domain of the clause). */
function isOf({ value }: Field, ids: readonly string[]): boolean {
  const by = /(?:^|\s)by\s{1,20}([^\s;()]{1,255})/i.exec(value.slice(0, 2000))?.[1];
  const host = by === undefined ? undefined : normalizeDomain(by);
  return host !== undefined && ids.some((id) => isWithin(host, id));
}

const WORDS: Readonly<Record<string, Result>> = {
  pass: "pass",
  fail: "fail",
  softfail: "fail",
  neutral: "fail",
  policy: "fail",
  permerror: "fail",
  hardfail: "fail",
  temperror: "temperror",
  none: "none",
};

/** A domain that stands alone or in an address. */
function domainIn(value: string | undefined): string | null {
  if (value === undefined) return null;
  const text = value.replace(/^<|>$/g, "");
  return (text.includes("@") ? domainOf(text.replace(/^@/, "x@")) : normalizeDomain(text)) ?? null;
}

function spfOf(results: readonly AuthResult[]): SpfEvidence | null {
  const spf = results.filter((r) => r.method === "spf" && r.result in WORDS);
  // a server may give results of both identities; DMARC needs that of MAIL FROM
  const best = spf.find((r) => r.properties.has("smtp.mailfrom")) ?? spf[0];
  if (!best) return null;
  const { properties, result } = best;
  const domain = domainIn(properties.get("smtp.mailfrom")) ?? domainIn(properties.get("smtp.helo"));
  return { result: WORDS[result]!, domain };
}

function dkimOf(results: readonly AuthResult[]): DkimEvidence[] | null {
  const dkim = results.filter((r) => r.method === "dkim" && r.result in WORDS);
  if (dkim.length === 0) return null;
  return dkim.flatMap(({ result, properties }) => {
    const domain = domainIn(properties.get("header.d")) ?? domainIn(properties.get("header.i"));
    if (domain === null || result === "none") return [];
    return [{ result: WORDS[result]!, domain, mail: true, tlsrpt: true }];
  });
}

function dmarcOf(results: readonly AuthResult[], author: string): "pass" | "fail" | null {
  const dmarc = results.find((r) => r.method === "dmarc");
  if (!dmarc || (dmarc.result !== "pass" && dmarc.result !== "fail")) return null;
  const from = dmarc.properties.get("header.from");
  return from === undefined || domainIn(from) === author ? dmarc.result : null;
}
