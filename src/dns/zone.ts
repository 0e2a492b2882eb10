/**
 * Names from a file: local records that replace those of DNS, and the data of tests. A line is `name type data`; `#` begins a
 * comment. Types: TXT, MX, A, AAAA, CNAME, PTR; `name SERVFAIL` and `name NXDOMAIN` give these answers.
 */
import { normalizeDomain } from "../model/domain-name.ts";
import { type DnsAnswer, type MxRecord, nodata, nxdomain, type Resolver, temporary } from "./resolver.ts";

const TYPES = ["TXT", "MX", "A", "AAAA", "CNAME", "PTR", "SERVFAIL", "NXDOMAIN"] as const;
type Type = (typeof TYPES)[number];

export interface ZoneRecord {
  readonly name: string;
  readonly type: Type;
  readonly data: string;
}

/** Longest chain of CNAMEs that is followed. */
const MAX_CHAIN = 16;

/** Parses the text of a zone file. Throws a TypeError that names the line. */
export function parseZone(text: string, file = "zone"): ZoneRecord[] {
  const records: ZoneRecord[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#") || trimmed.startsWith(";")) continue;
    const match = /^(\S+)\s+(\S+)(?:\s+(.*))?$/.exec(trimmed);
    const type = TYPES.find((t) => t === match?.[2]?.toUpperCase());
    const name = match?.[1]?.startsWith("*.") ? match[1].toLowerCase() : normalizeDomain(match?.[1] ?? "");
    if (!match || !type || name === undefined) {
      throw new TypeError(`${file}:${i + 1}: not "name type data" with one of ${TYPES.join(", ")}`);
    }
    records.push({
      name,
      type,
      data: type === "TXT" ? joinStrings(match[3] ?? "") : (match[3] ?? "").trim(),
    });
  }
  return records;
}

/** `"a" "b"` → ab; unquoted text as it is. */
function joinStrings(data: string): string {
  const strings = [...data.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((m) => m[1]!.replace(/\\(.)/g, "$1"));
  return strings.length > 0 ? strings.join("") : data;
}

export interface ZoneResolver extends Resolver {
  /** Questions asked so far, `TYPE name`, for tests. */
  readonly asked: string[];
}

/** Answers from records; other names are asked of `next`, or are NXDOMAIN. */
export function zoneResolver(records: readonly ZoneRecord[], next?: Resolver): ZoneResolver {
  const byName = new Map<string, ZoneRecord[]>();
  for (const record of records) {
    const list = byName.get(record.name) ?? [];
    list.push(record);
    byName.set(record.name, list);
  }
  const asked: string[] = [];

  function find(name: string): ZoneRecord[] | undefined {
    const exact = byName.get(name);
    if (exact) return exact;
    for (let dot = name.indexOf("."); dot > 0; dot = name.indexOf(".", dot + 1)) {
      const wild = byName.get(`*${name.slice(dot)}`);
      if (wild) return wild;
    }
    return undefined;
  }

  function exists(name: string): boolean {
    return [...byName.keys()].some((known) => known.endsWith(`.${name}`));
  }

  async function ask<T>(
    question: string,
    type: Type,
    convert: (data: string) => T,
    forward: (resolver: Resolver) => Promise<DnsAnswer<T>>,
  ): Promise<DnsAnswer<T>> {
    let name = normalizeDomain(question) ?? question.toLowerCase();
    asked.push(`${type} ${name}`);
    for (let i = 0; i < MAX_CHAIN; i++) {
      const found = find(name);
      if (!found) {
        if (next && i === 0) return forward(next);
        return exists(name) ? nodata(name) : nxdomain(name);
      }
      if (found.some((r) => r.type === "SERVFAIL")) return temporary(`${name}: SERVFAIL`);
      if (found.some((r) => r.type === "NXDOMAIN")) return nxdomain(name);
      const matching = found.filter((r) => r.type === type);
      if (matching.length > 0) return { ok: true, records: matching.map((r) => convert(r.data)) };
      const alias = found.find((r) => r.type === "CNAME");
      if (!alias) return nodata(name);
      name = normalizeDomain(alias.data) ?? alias.data;
    }
    return temporary(`${question}: CNAME chain too long`);
  }

  return {
    asked,
    txt: (name) =>
      ask(
        name,
        "TXT",
        (data) => data,
        (r) => r.txt(name),
      ),
    mx: (name) => ask<MxRecord>(name, "MX", readMx, (r) => r.mx(name)),
    addresses: (name, family) =>
      ask(
        name,
        family === 4 ? "A" : "AAAA",
        (data) => data,
        (r) => r.addresses(name, family),
      ),
    ptr: (ip) =>
      ask(
        ip,
        "PTR",
        (data) => data,
        (r) => r.ptr(ip),
      ),
  };
}

function readMx(data: string): MxRecord {
  const [preference, exchange] = data.split(/\s+/);
  const host = (exchange ?? "").replace(/\.$/, "").toLowerCase();
  return { preference: Number(preference), exchange: host };
}
