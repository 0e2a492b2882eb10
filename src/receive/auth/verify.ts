/**
 * Verifies the mails that carry reports, before they are stored: by what a trusted upstream MTA found, or by SPF and
 * DKIM and our own alignment. Only so many at once, each until a deadline.
 */
import type { Config } from "../../config/schema.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { ReadStop } from "../../format/context.ts";
import { type HeaderBlock, readHeaderBlock } from "../../format/mail/mime/headers.ts";
import type { Clock } from "../../lib/clock.ts";
import { errorText } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { networkMatcher, normalizeIp } from "../../model/ip.ts";
import type { MessageAuth } from "../../store/archive.ts";
import { verdictOn } from "./alignment.ts";
import { trustedResults } from "./auth-results.ts";
import { authorOf } from "./author.ts";
import { signedForm } from "./dkim-precheck.ts";
import { type Evidence, NO_SPF } from "./evidence.ts";
import { boundedResolver, silentResolver } from "./lookups.ts";
import { checkDkim, checkSpf, mailauth } from "./mailauth.ts";

/** RFC 7208 4.6.4: at least 20 seconds for all questions of one check. */
const DEADLINE_MS = 20_000;
/** Mails that wait for DNS at once; later ones wait for their turn, within their own deadline. */
const AT_ONCE = 100;

export interface SessionFacts {
  readonly remoteIp: string | null;
  readonly helo: string | null;
  readonly envelopeFrom: string;
  /** Over LMTP the peer is a server of ours, never the sender's. */
  readonly source: "smtp" | "lmtp";
}

export interface VerifierOptions {
  readonly config: () => Config;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
}

/** Nothing was checked. */
export const NOT_VERIFIED: MessageAuth = {
  verdict: "none",
  domain: null,
  dkimDomains: [],
  tls: "none",
  by: null,
  detail: null,
};

export interface MessageVerifier {
  /** Loads what verifying needs, if anything is to be verified, so that the first mail does not wait for it. */
  prepare(): Promise<void>;
  /** Never rejects: what cannot be verified has a verdict that says so. */
  verify(raw: Buffer, facts: SessionFacts): Promise<MessageAuth>;
  /** Mails in the check and before it, for `show stats`. */
  stats(): Record<string, number>;
}

export function makeMessageVerifier(options: VerifierOptions): MessageVerifier {
  const { config, clock, log } = options;
  const turns = makeTurns(AT_ONCE);

  async function check(raw: Buffer, facts: SessionFacts, expired: Promise<void>): Promise<MessageAuth> {
    const { verify, authserv_ids, authserv_peers } = config().receive;
    const head = headerOf(raw, config());
    if (head === undefined) return refused("the header is too large");
    const author = authorOf(head.fields);
    if (!author.ok) return refused(author.why);
    const resolver = verify ? boundedResolver(options.resolver, expired) : silentResolver;
    const front =
      authserv_ids.length > 0 && isTrustedUpstream(facts, authserv_peers)
        ? trustedResults(head.fields, authserv_ids, author.domain)
        : undefined;
    if (!verify && front === undefined) return NOT_VERIFIED;
    const notes: string[] = [];
    const ownDkim = async (): Promise<Evidence["dkim"]> => {
      if (!verify) return [];
      const mail = signedForm(raw, head.fields, head.bodyStart);
      if (mail.ok) return checkDkim(resolver, mail, clock.now());
      notes.push(mail.why);
      return [];
    };
    const ownSpf = async (): Promise<Evidence["spf"]> => {
      const ip = facts.source === "smtp" && facts.remoteIp !== null ? normalizeIp(facts.remoteIp) : undefined;
      if (!verify || ip === undefined) return NO_SPF;
      return checkSpf(resolver, { ...facts, ip }, config().smtp.banner);
    };
    const [spf, dkim] = await Promise.all([
      front === undefined ? ownSpf() : (front.spf ?? NO_SPF),
      front?.dkim ?? ownDkim(),
    ]);
    const evidence: Evidence = { spf, dkim, dmarc: front?.dmarc ?? null, by: front?.by ?? "own", notes };
    return verdictOn(resolver, author.domain, evidence);
  }

  return {
    async prepare() {
      if (config().receive.verify) await mailauth();
    },
    async verify(raw, facts) {
      const { verify, authserv_ids } = config().receive;
      if (!verify && authserv_ids.length === 0) return NOT_VERIFIED;
      let expire: () => void = () => {};
      const expired = new Promise<void>((resolve) => {
        expire = resolve;
      });
      const timer = clock.after(DEADLINE_MS, expire);
      try {
        if (!(await turns.take(expired))) return unclear("no time to verify it");
        try {
          return await check(raw, facts, expired);
        } finally {
          turns.give();
        }
      } catch (error) {
        // a bug, here or in the library: the mail is kept all the same
        log.error("mail.unverifiable", {
          remote: facts.remoteIp,
          from: facts.envelopeFrom,
          error: errorText(error),
        });
        return refused("it could not be verified");
      } finally {
        timer.cancel();
      }
    },
    stats: () => ({ "carrier.now": turns.running(), "carrier.waiting": turns.waiting() }),
  };
}

const refused = (detail: string): MessageAuth => ({
  ...NOT_VERIFIED,
  verdict: "fail",
  tls: "fail",
  by: "own",
  detail,
});
const unclear = (detail: string): MessageAuth => ({
  ...NOT_VERIFIED,
  verdict: "temperror",
  tls: "temperror",
  by: "own",
  detail,
});

function headerOf(raw: Buffer, { limits }: Config): HeaderBlock | undefined {
  try {
    return readHeaderBlock(raw, 0, raw.length, limits);
  } catch (error) {
    if (error instanceof ReadStop) return undefined;
    throw error;
  }
}

/** Loopback, link-local and private networks: nobody from outside comes from there. */
const LOCAL_NETWORKS = [
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "::1/128",
  "fc00::/7",
  "fe80::/10",
];
const isLocal = networkMatcher(LOCAL_NETWORKS);

/** The peer may be our trusted upstream MTA: over LMTP, from a local network, or one that is named. */
export function isTrustedUpstream({ source, remoteIp }: SessionFacts, peers: readonly string[]): boolean {
  if (source === "lmtp" || remoteIp === null) return true;
  return isLocal(remoteIp) || networkMatcher(peers)(remoteIp);
}

/** So many at once; the others in the order of their coming. */
function makeTurns(most: number) {
  let running = 0;
  const line: (() => void)[] = [];
  return {
    /** True when it is the caller's turn; false when `expired` settled before. */
    take(expired: Promise<void>): Promise<boolean> {
      if (running < most) {
        running++;
        return Promise.resolve(true);
      }
      return new Promise((resolve) => {
        const start = (): void => resolve(true);
        line.push(start);
        void expired.then(() => {
          const at = line.indexOf(start);
          if (at < 0) return;
          line.splice(at, 1);
          resolve(false);
        });
      });
    },
    /** The caller's turn has ended: the next one's begins. */
    give(): void {
      const next = line.shift();
      if (next) next();
      else running--;
    },
    running: () => running,
    waiting: () => line.length,
  };
}
