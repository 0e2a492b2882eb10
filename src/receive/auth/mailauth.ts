/** SPF and DKIM by mailauth. No other module uses it; it is loaded only where mail is verified. */
import { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import type { Resolver } from "../../dns/resolver.ts";
import { normalizeDomain } from "../../model/domain-name.ts";
import { domainOf } from "./author.ts";
import type { Signed } from "./dkim-precheck.ts";
import { type DkimEvidence, NO_SPF, type Result, type SpfEvidence } from "./evidence.ts";
import { resolveFunction } from "./lookups.ts";

/** Bytes after which other work of the event loop runs. */
const SLICE = 65_536;
const LONGEST_SENDER = 320;

async function load() {
  const [{ spf }, { dkimVerify }] = await Promise.all([
    import("mailauth/lib/spf/index.js"),
    import("mailauth/lib/dkim/verify.js"),
  ]);
  return { spf, dkimVerify };
}
let loaded: ReturnType<typeof load> | undefined;
/** Loads it once (80 ms, 13 MB). */
export const mailauth = (): ReturnType<typeof load> => {
  loaded ??= load();
  return loaded;
};

export interface Sender {
  readonly ip: string;
  readonly helo: string | null;
  /** "" is the null sender: SPF then checks postmaster@EHLO (RFC 7208 2.4). */
  readonly envelopeFrom: string;
}

/** Checks SPF of one sender (RFC 7208); `mta` is our name in the comments. */
export async function checkSpf(resolver: Resolver, sender: Sender, mta: string): Promise<SpfEvidence> {
  const { ip, helo, envelopeFrom } = sender;
  const address = envelopeFrom === "" ? `postmaster@${helo ?? ""}` : envelopeFrom;
  const domain = domainOf(address);
  if (domain === undefined || address.length > LONGEST_SENDER) return NO_SPF;
  const { spf } = await mailauth();
  const local = address.slice(0, address.lastIndexOf("@"));
  const { status } = await spf({
    sender: `${local}@${domain}`,
    ip,
    helo: (helo === null ? undefined : normalizeDomain(helo)) ?? "unknown",
    mta,
    resolver: resolveFunction(resolver),
  });
  return { result: spfResult(status.result), domain };
}

/** Verifies the signatures of a prepared mail (RFC 6376, RFC 8463); none for an unsigned one. */
export async function checkDkim(
  resolver: Resolver,
  mail: Signed & { ok: true },
  now: number,
): Promise<DkimEvidence[]> {
  if (mail.signatures === 0) return [];
  const { dkimVerify } = await mailauth();
  const { results } = await dkimVerify(Readable.from(slices(mail)), {
    resolver: resolveFunction(resolver),
    sender: "nobody@invalid",
    minBitLength: 1024,
    curTime: new Date(now),
  });
  return results.flatMap((one): DkimEvidence[] => {
    const { signingDomain, status, rr, signingHeaders, canonBodyLengthLimited } = one as typeof one & {
      readonly rr?: string;
      readonly canonBodyLengthLimited?: boolean;
      readonly signingHeaders?: { readonly keys: string };
    };
    const domain = signingDomain === undefined ? undefined : normalizeDomain(signingDomain);
    if (domain === undefined) return [];
    const names = (signingHeaders?.keys ?? "").toLowerCase().split(": ");
    const coversAll = canonBodyLengthLimited !== true && names.includes("from");
    const services = servicesOf(rr ?? "");
    const allows = (service: string): boolean => services.includes("*") || services.includes(service);
    return [
      {
        result: coversAll ? dkimResult(status.result) : "fail",
        domain,
        mail: allows("email"),
        tlsrpt: allows("tlsrpt"),
      },
    ];
  });
}

async function* slices({ header, body }: Signed & { ok: true }): AsyncGenerator<Buffer> {
  yield header;
  for (let at = 0; at < body.length; at += SLICE) {
    if (at > 0) await turn();
    yield body.subarray(at, at + SLICE);
  }
}

/** The service types of a key record, blanks already gone (RFC 6376 3.6.1); `*` when it names none. */
export function servicesOf(record: string): readonly string[] {
  for (const tag of record.split(";")) {
    if (/^\s*s\s*=/.test(tag)) {
      return tag
        .slice(tag.indexOf("=") + 1)
        .toLowerCase()
        .split(":")
        .map((service) => service.trim());
    }
  }
  return ["*"];
}

const spfResult = (word: string): Result =>
  word === "pass" || word === "none" || word === "temperror" ? word : "fail";
const dkimResult = (word: string): Result => (word === "pass" || word === "temperror" ? word : "fail");
