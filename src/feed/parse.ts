/** One line of a feed, checked and normalised; errors name the member. */
import type { z } from "zod";
import { cleanShort } from "../lib/text.ts";
import { normalizeDomain } from "../model/domain-name.ts";
import type {
  DmarcEvaluation,
  DmarcRow,
  FeedEvent,
  ReasonWord,
  TlsDetailRow,
  TlsSessions,
} from "../model/evaluation.ts";
import { readIp } from "../model/ip.ts";
import { type DmarcLine, dmarcLine, type TlsLine, tlsLine } from "./schema.ts";

/** Signatures of one row (RFC 9990 3.1.3). */
const MOST_SIGNATURES = 100;
/** Clocks of machines differ; more than this is a mistake. Seconds. */
const FUTURE = 600;

export interface ParseContext {
  /** Epoch seconds. */
  readonly now: number;
  /** Seconds; older events would be too late for any report. */
  readonly maxAge: number;
  /** The host that submits our reports: mail from it never causes one. */
  readonly submitter: string;
  /** True when reports are received at `user@domain`; `@domain` asks about all addresses of a domain. */
  readonly takesReports: (address: string) => boolean;
}

export type ParsedLine =
  | { readonly ok: true; readonly event: FeedEvent }
  | { readonly ok: false; readonly reason: string };

/** Why a line is refused; caught where the line began. */
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
  if (kind !== "dmarc" && kind !== "tls") return { ok: false, reason: "kind: expected dmarc or tls" };
  const parsed = kind === "dmarc" ? dmarcLine.safeParse(value) : tlsLine.safeParse(value);
  if (!parsed.success) return { ok: false, reason: describe(parsed.error.issues[0]!) };
  try {
    checkTime(parsed.data.time, context);
    const event =
      parsed.data.kind === "dmarc" ? evaluation(parsed.data, context) : sessions(parsed.data, context);
    return { ok: true, event };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ok: false, reason: error.message };
  }
}

/** `policy.p: expected none, quarantine or reject` */
function describe(issue: z.core.$ZodIssue): string {
  const at = issue.path.map(String).join(".");
  const where = at === "" ? "" : `${cleanShort(at, 80)}: `;
  if (issue.code === "unrecognized_keys") return `${where}unknown member "${cleanShort(issue.keys[0]!, 60)}"`;
  if (issue.code === "invalid_value") return `${where}expected ${alternatives(issue.values.map(String))}`;
  const text = issue.message.replace(/^Invalid input: /, "");
  if (/received undefined$/.test(text)) return `${where}missing`;
  return `${where}${cleanShort(text, 200)}`;
}

function alternatives(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function checkTime(time: number, { now, maxAge }: ParseContext): void {
  if (time > now + FUTURE) throw new Refused("time: more than ten minutes in the future");
  if (time < now - maxAge) throw new Refused(`time: older than ${Math.floor(maxAge / 86_400)} days`);
}

function domain(value: string, member: string): string {
  const name = normalizeDomain(value);
  if (name === undefined) throw new Refused(`${member}: not a domain: ${cleanShort(value, 60)}`);
  return name;
}

/**
 * The domain of an address or domain that the sender of the mail chose; null where it is none. A sender must not be
 * able to stay out of reports by bad identifiers, so these never refuse a line.
 */
function chosen(value: string | null | undefined): string | null {
  if (!value) return null;
  const bare = value.replace(/^<|>$/g, "");
  return normalizeDomain(bare.slice(bare.lastIndexOf("@") + 1)) ?? null;
}

function address(value: string, member: string): string {
  const ip = readIp(value);
  if (!ip) throw new Refused(`${member}: not an IP address: ${cleanShort(value, 60)}`);
  return ip.ip;
}

const REASONS: readonly ReasonWord[] = [
  "local_policy",
  "mailing_list",
  "other",
  "policy_test_mode",
  "trusted_forwarder",
];

/** Words of RFC 7489 and of programs, as RFC 9990 3.1.6 knows them. */
function reason({ type, comment }: DmarcLine["reasons"][number]): DmarcRow["reasons"][number] {
  const word = REASONS.find((known) => known === type);
  if (word) return { type: word, comment: comment ?? null };
  if (type === "forwarded") return { type: "trusted_forwarder", comment: comment ?? null };
  return { type: "other", comment: comment ?? type.replaceAll("_", " ") };
}

const DKIM_RESULTS = ["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"] as const;
const SPF_RESULTS = [...DKIM_RESULTS, "softfail"] as const;

function result<T extends string>(value: string, words: readonly T[], member: string): T {
  const lower = value.toLowerCase();
  const word = words.find((known) => known === lower);
  if (!word) throw new Refused(`${member}: expected ${alternatives(words)}`);
  return word;
}

/** RFC 9990 3.1.3: strictly aligned passes first, then those in the same tree, other passes, and the rest. */
function signatures(line: DmarcLine, headerFrom: string): DmarcRow["dkim"] {
  const order = (each: DmarcRow["dkim"][number]): number => {
    if (each.result !== "pass") return 3;
    if (each.domain === headerFrom) return 0;
    return headerFrom.endsWith(`.${each.domain}`) || each.domain.endsWith(`.${headerFrom}`) ? 1 : 2;
  };
  return line.dkim
    .flatMap((each, i) => {
      const name = chosen(each.domain);
      if (name === null) return [];
      const word = result(each.result, DKIM_RESULTS, `dkim.${i}.result`);
      const signature = {
        domain: name,
        selector: each.selector,
        result: word,
        humanResult: each.human_result ?? null,
      };
      return [{ signature, order: order(signature), text: JSON.stringify(signature) }];
    })
    .sort((a, b) => a.order - b.order || (a.text < b.text ? -1 : a.text > b.text ? 1 : 0))
    .slice(0, MOST_SIGNATURES)
    .map(({ signature }) => signature);
}

function spfOf(line: DmarcLine): DmarcRow["spf"] {
  if (line.spf?.scope !== "mfrom") return null;
  const name = chosen(line.spf.domain);
  const word = result(line.spf.result, SPF_RESULTS, "spf.result");
  return name === null ? null : { domain: name, result: word, humanResult: line.spf.human_result ?? null };
}

function isNullSender(from: string | null | undefined): boolean {
  return from === "" || from === "<>";
}

/** True for mail to an address that receives reports; for a domain alone, when all its addresses do. */
function goesToReports(to: string | null | undefined, { takesReports }: ParseContext): boolean {
  if (!to) return false;
  const bare = to.replace(/^<|>$/g, "");
  return takesReports(bare.includes("@") ? bare : `@${bare}`);
}

function evaluation(line: DmarcLine, context: ParseContext): DmarcEvaluation {
  const { policy } = line;
  const headerFrom = domain(line.header_from, "header_from");
  const nullSender = isNullSender(line.envelope_from);
  const toReports = goesToReports(line.envelope_to, context) || goesToReports(line.recipient, context);
  return {
    kind: "dmarc",
    id: line.id ?? null,
    time: line.time,
    policy: {
      domain: domain(policy.domain, "policy.domain"),
      p: policy.p,
      sp: policy.sp ?? null,
      np: policy.np ?? null,
      adkim: policy.adkim,
      aspf: policy.aspf,
      fo: policy.fo,
      testing: policy.t,
      psd: policy.psd,
      discovery: policy.discovery ?? null,
    },
    rua: policy.rua,
    row: {
      sourceIp: address(line.source_ip, "source_ip"),
      disposition: line.disposition,
      dkimAligned: line.dkim_aligned,
      spfAligned: line.spf_aligned,
      reasons: line.reasons.map(reason),
      headerFrom,
      envelopeFrom: nullSender ? "" : chosen(line.envelope_from),
      envelopeTo: chosen(line.envelope_to),
      dkim: signatures(line, headerFrom),
      spf: spfOf(line),
    },
    count: line.count,
    // bounces, mail to report addresses and our own reports must not cause reports in turn
    optional: line.optional || nullSender || toReports || headerFrom === context.submitter,
    spam: line.spam,
  };
}

function sessions(line: TlsLine, context: ParseContext): TlsSessions {
  const owner = domain(line.domain, "domain");
  return {
    kind: "tls",
    id: line.id ?? null,
    time: line.time,
    domain: owner,
    record: line.record ?? null,
    policies: line.policies.map((each, i) => ({
      policy: {
        type: each.type,
        domain: each.domain ? domain(each.domain, `policies.${i}.domain`) : owner,
        strings: each.strings,
        mxHosts: each.mx.map((mx) => mx.toLowerCase().replace(/\.$/, "")),
      },
      success: each.success,
      failure: each.failure,
      details: each.details
        .filter(({ count }) => count > 0)
        .map((detail, k) => ({
          detail: detailOf(detail, `policies.${i}.details.${k}`),
          count: detail.count,
        })),
    })),
    optional: line.optional || line.report || goesToReports(line.recipient, context),
  };
}

function detailOf(detail: TlsLine["policies"][number]["details"][number], member: string): TlsDetailRow {
  const ip = (value: string | null | undefined, name: string): string | null =>
    value ? address(value, `${member}.${name}`) : null;
  return {
    resultType: detail.result,
    sendingMtaIp: ip(detail.sending_ip, "sending_ip"),
    receivingMxHostname: chosen(detail.mx),
    receivingMxHelo: detail.helo ?? null,
    receivingIp: ip(detail.receiving_ip, "receiving_ip"),
    additionalInformation: detail.info ?? null,
    failureReasonCode: detail.reason ?? null,
  };
}
