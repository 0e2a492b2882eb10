/** When reports begin, end and are due: a grid in UTC, and a spread that a restart does not change. */
import { createHash } from "node:crypto";
import type { Config } from "../config/schema.ts";
import { base32 } from "../lib/ids.ts";
import { parseDuration } from "../lib/units.ts";
import { normalizeDomain } from "../model/domain-name.ts";
import type { EvaluatedPolicy } from "../model/evaluation.ts";
import type { OutgoingKind } from "../model/outgoing.ts";

const DAY = 86_400;

export interface Period {
  /** First and last second, epoch seconds. */
  readonly begin: number;
  readonly end: number;
}

/** The period of the UTC grid that holds `time`. TLS reports cover a day always (RFC 8460 4.1). */
export function periodAt(config: Config, kind: OutgoingKind, domain: string, time: number): Period {
  const length = kind === "tls" ? DAY : intervalOf(config, domain);
  const begin = Math.floor(time / length) * length;
  return { begin, end: begin + length - 1 };
}

/** The intervals of a configuration by domain, seconds; it may name thousands. */
const intervals = new WeakMap<Config, ReadonlyMap<string, number>>();

function intervalOf(config: Config, domain: string): number {
  let own = intervals.get(config);
  if (!own) {
    own = new Map(
      config.report.intervals.map((each) => [
        normalizeDomain(each.domain) ?? each.domain,
        parseDuration(each.interval)! / 1000,
      ]),
    );
    intervals.set(config, own);
  }
  return own.get(domain) ?? parseDuration(config.report.interval)! / 1000;
}

/** When a period is due: its end, the settle time, and a share of the window that its own name decides. */
export function dueAt(
  config: Config,
  kind: OutgoingKind,
  domain: string,
  { begin, end }: Period,
  secret: Uint8Array,
): number {
  const window = (kind === "dmarc" ? config.report.dmarc_jitter : config.report.tls_jitter) / 1000;
  const hash = createHash("sha256").update(`due|${kind}|${domain}|${begin}|`).update(secret).digest();
  const jitter = window > 0 ? hash.readUInt32BE(0) % window : 0;
  return end + 1 + Math.floor(config.report.settle / 1000) + Math.floor(jitter);
}

/** 16 hex digits over what makes reports differ: the policy, but not where it wants its reports. */
export function dmarcPolicyHash(policy: EvaluatedPolicy): string {
  const { p, sp, np, adkim, aspf, fo, testing, discovery } = policy;
  return hex16(JSON.stringify([p, sp ?? p, np ?? sp ?? p, adkim, aspf, fo, testing, discovery]));
}

/** 16 hex digits over the report addresses of a TLSRPT record: another record is another report (RFC 8460 3). */
export function tlsRecordHash(rua: readonly string[] | null): string {
  return hex16(JSON.stringify(rua === null ? null : [...new Set(rua)].sort()));
}

function hex16(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/**
 * The id of a report: alphanumeric, so that it fits Report-ID and the unique-id of file names alike (RFC 9990 3.1.4,
 * 3.5.2): kind, day, 13 characters of a hash.
 */
export function reportIdOf(
  kind: OutgoingKind,
  outgoingId: string,
  { begin, end }: Period,
  part: number,
  secret: Uint8Array,
): string {
  const day = new Date(begin * 1000).toISOString().slice(0, 10).replaceAll("-", "");
  const hash = createHash("sha256")
    .update(`report|${outgoingId}|${begin}|${end}|${part}|`)
    .update(secret)
    .digest();
  return `${kind === "dmarc" ? "d" : "t"}${day}${base32(hash, 13)}`;
}
