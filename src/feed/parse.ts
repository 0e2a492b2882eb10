/** One line of a feed, checked and normalised; what is wrong is said by member and value. */
import type { z } from "zod";
import { cleanShort } from "../lib/text.ts";
import { normalizeDomain } from "../model/domain-name.ts";
import type { DmarcEvaluation, DmarcRow, FeedEvent, ReasonWord, TlsSessions } from "../model/evaluation.ts";
import { readIp } from "../model/ip.ts";
import { type DmarcLine, dmarcLine, type TlsLine, tlsLine } from "./schema.ts";

/** Longest line of a feed, bytes. */
export const LONGEST_LINE = 65_536;
/** Signatures of one row (RFC 9990 3.1.3). */
const MOST_SIGNATURES = 100;
const FUTURE = 600;
const OLDEST = 7 * 86_400;

export interface ParseContext {
  /** Epoch seconds. */
  readonly now: number;
  /** Mail to these domains or addresses, or from our own submitter, never causes a report. */
  readonly isOurs: (domain: string) => boolean;
}

export type ParsedLine = { readonly ok: true; readonly event: FeedEvent } | { readonly ok: false; readonly reason: string };

class Refused extends Error {}

/** Reads one line. */
export function parseFeedLine(line: string, context: ParseContext): ParsedLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { ok: false, reason: "not JSON" };
  }
  const kind = (value as { kind?: unknown } | null)?.kind;
  if (kind !== "dmarc" && kind !== "tls") return { ok: false, reason: 'kind: expected "dmarc" or "tls"' };
  const parsed = kind === "dmarc" ? dmarcLine.safeParse(value) : tlsLine.safeParse(value);
  if (!parsed.success) return { ok: false, reason: describe(parsed.error.issues[0]!) };
  try {
    checkTime(parsed.data.time, context.now);
    const event = parsed.data.kind === "dmarc" ? evaluation(parsed.data, context) : sessions(parsed.data);
    return { ok: true, event };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ok: false, reason: error.message };
  }
}

function describe(issue: z.core.$ZodIssue): string {
  const at = issue.path.join(".") || "line";
  if (issue.code === "unrecognized_keys") return `${at === "line" ? "" : `${at}: `}unknown member "${cleanShort(issue.keys[0] ?? "", 60)}"`;
  return `${at}: ${cleanShort(issue.message.replace(/^Invalid (?:input|option): /, ""), 200)}`;
}

function checkTime(time: number, now: number): void {
  if (time > now + FUTURE) throw new Refused("time: more than ten minutes in the future");
  if (time < now - OLDEST) throw new Refused("time: older than seven days");
}

function domain(value: string, member: string): string {
  const bare = value.includes("@") ? value.slice(value.lastIndexOf("@") + 1) : value;
  const name = normalizeDomain(bare.replace(/>$/, ""));
  if (name === undefined) throw new Refused(`${member}: not a domain: ${cleanShort(value, 60)}`);
  return name;
}

function address(value: string, member: string): string {
  const ip = readIp(value);
  if (!ip) throw new Refused(`${member}: not an IP address: ${cleanShort(value, 60)}`);
  return ip.ip;
}

/** RFC 7489's and the words of programs, as RFC 9990 3.1.6 knows them. */
function reason({ type, comment }: DmarcLine["reasons"][number]): DmarcRow["reasons"][number] {
  const known: readonly ReasonWord[] = ["local_policy", "mailing_list", "other", "policy_test_mode", "trusted_forwarder"];
  const word = known.find((k) => k === type);
  if (word) return { type: word, comment: comment ?? null };
  if (type === "forwarded") return { type: "trusted_forwarder", comment: comment ?? null };
  return { type: "other", comment: comment ?? type.replace(/_/g, " ") };
}

const DKIM_RESULTS = ["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"] as const;
const SPF_RESULTS = [...DKIM_RESULTS, "softfail"] as const;

function result<T extends string>(value: string, words: readonly T[], member: string): T {
  const word = words.find((w) => w === value.toLowerCase());
  if (!word) throw new Refused(`${member}: expected one of ${words.join(", ")}`);
  return word;
}

/** Strictly aligned passes first, then aligned, other passes, and the rest (RFC 9990 3.1.3). */
function signatureOrder(d: DmarcRow["dkim"][number], headerFrom: string): number {
  const aligned = d.domain === headerFrom ? 0 : headerFrom.endsWith(`.${d.domain}`) || d.domain.endsWith(`.${headerFrom}`) ? 1 : 2;
  return d.result === "pass" ? aligned : 3;
}

function evaluation(line: DmarcLine, { isOurs }: ParseContext): DmarcEvaluation {
  const headerFrom = domain(line.header_from, "header_from");
  const nullSender = line.envelope_from === "" || line.envelope_from === "<>";
  const envelopeTo = line.envelope_to ? domain(line.envelope_to, "envelope_to") : null;
  const dkim = line.dkim
    .map((d, i) => ({
      domain: domain(d.domain, `dkim.${i}.domain`),
      selector: d.selector,
      result: result(d.result, DKIM_RESULTS, `dkim.${i}.result`),
      humanResult: d.human_result ?? null,
    }))
    .sort((a, b) => {
      const order = signatureOrder(a, headerFrom) - signatureOrder(b, headerFrom);
      return order !== 0 ? order : JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;
    })
    .slice(0, MOST_SIGNATURES);
  const spf = line.spf && line.spf.scope === "mfrom" ? line.spf : null;
  return {
    kind: "dmarc",
    id: line.id ?? null,
    time: line.time,
    policy: {
      domain: domain(line.policy.domain, "policy.domain"),
      p: line.policy.p,
      sp: line.policy.sp ?? null,
      np: line.policy.np ?? null,
      adkim: line.policy.adkim,
      aspf: line.policy.aspf,
      fo: line.policy.fo,
      testing: line.policy.t,
      psd: line.policy.psd,
      discovery: line.policy.discovery ?? null,
    },
    rua: line.policy.rua,
    row: {
      sourceIp: address(line.source_ip, "source_ip"),
      disposition: line.disposition,
      dkimAligned: line.dkim_aligned,
      spfAligned: line.spf_aligned,
      reasons: line.reasons.map(reason),
      headerFrom,
      envelopeFrom: nullSender ? "" : line.envelope_from ? domain(line.envelope_from, "envelope_from") : null,
      envelopeTo,
      dkim,
      spf: spf
        ? { domain: domain(spf.domain, "spf.domain"), result: result(spf.result, SPF_RESULTS, "spf.result"), humanResult: spf.human_result ?? null }
        : null,
    },
    count: line.count,
    // bounces, mail to report addresses and our own reports must not cause reports in turn (RFC 6650 6)
    optional: line.optional || nullSender || isOurs(headerFrom) || (envelopeTo !== null && isOurs(envelopeTo)),
    spam: line.spam,
  };
}

function sessions(line: TlsLine): TlsSessions {
  const owner = domain(line.domain, "domain");
  return {
    kind: "tls",
    id: line.id ?? null,
    time: line.time,
    domain: owner,
    record: line.record ?? null,
    policies: line.policies.map((p, i) => ({
      policy: {
        type: p.type,
        domain: p.domain ? domain(p.domain, `policies.${i}.domain`) : owner,
        strings: p.strings,
        mxHosts: p.mx.map((mx) => mx.toLowerCase().replace(/\.$/, "")),
      },
      success: p.success,
      failure: p.failure,
      details: p.details.map((d, k) => ({
        detail: {
          resultType: d.result,
          sendingMtaIp: d.sending_ip ? address(d.sending_ip, `policies.${i}.details.${k}.sending_ip`) : null,
          receivingMxHostname: d.mx ? domain(d.mx, `policies.${i}.details.${k}.mx`) : null,
          receivingMxHelo: d.helo ?? null,
          receivingIp: d.receiving_ip ? address(d.receiving_ip, `policies.${i}.details.${k}.receiving_ip`) : null,
          additionalInformation: d.info ?? null,
          failureReasonCode: d.reason ?? null,
        },
        count: d.count,
      })),
    })),
    optional: line.optional || line.report,
  };
}
