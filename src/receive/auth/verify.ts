/**
 * Authenticates report mail before it is stored: by the Authentication-Results of a trusted upstream MTA, or by SPF,
 * DKIM and alignment. The number of concurrent checks is limited, and each has a deadline.
 */
import type { Config } from "../../config/schema.ts";
import type { Resolver } from "../../dns/resolver.ts";
import { ReadStop } from "../../format/context.ts";
import { type HeaderBlock, readHeaderBlock } from "../../format/mail/mime/headers.ts";
import type { Clock } from "../../lib/clock.ts";
import { errorText } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { failureOf, stackOf } from "../../lib/supervised.ts";
import { networkMatcher, normalizeIp } from "../../model/ip.ts";
import type { MessageAuth } from "../../model/message-auth.ts";
import { verdictOn } from "./alignment.ts";
import { trustedResults } from "./auth-results.ts";
import { authorOf } from "./author.ts";
import { signedForm } from "./dkim-precheck.ts";
import { type Evidence, NO_SPF } from "./evidence.ts";
import { boundedResolver, silentResolver } from "./lookups.ts";
import { checkDkim, checkSpf, mailauth } from "./mailauth.ts";

/** RFC 7208 4.6.4: at least 20 seconds for all questions of one check. */
const DEADLINE_MS = 20_000;
/** Concurrent checks, each of which waits for DNS; further mails wait, within their own deadline. */
const MAX_CHECKS = 100;

export interface SessionFacts {
  readonly remoteIp: string | null;
  readonly helo: string | null;
  readonly envelopeFrom: string;
  /** Over LMTP the client is a server of ours, and SPF cannot be checked. */
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
  /** Loads the libraries, if mail is to be verified, so that the first one does not wait for it. */
  prepare(): Promise<void>;
  /** Never rejects: a mail that cannot be verified has a verdict that says so. */
  verify(raw: Buffer, facts: SessionFacts): Promise<MessageAuth>;
  /** Mails that are checked and that wait for it, for `show stats`. */
  stats(): Record<string, number>;
}

export function makeMessageVerifier(options: VerifierOptions): MessageVerifier {
  const { config, clock, log } = options;
  const slots = makeSlots(MAX_CHECKS);

  async function check(raw: Buffer, facts: SessionFacts, expired: Promise<void>): Promise<MessageAuth> {
    const { verify, authserv_ids, authserv_peers } = config().receive;
    const head = headerOf(raw, config());
    if (head === undefined) return refused("the header is too large");
    const author = authorOf(head.fields);
    if (!author.ok) return refused(author.why);
    const resolver = verify ? boundedResolver(options.resolver, expired) : silentResolver;
    const upstream =
      authserv_ids.length > 0 && isTrustedUpstream(facts, authserv_peers)
        ? trustedResults(head.fields, authserv_ids, author.domain)
        : undefined;
    if (!verify && upstream === undefined) return NOT_VERIFIED;
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
      upstream === undefined ? ownSpf() : (upstream.spf ?? NO_SPF),
      upstream?.dkim ?? ownDkim(),
    ]);
    const evidence: Evidence = {
      spf,
      dkim,
      dmarc: upstream?.dmarc ?? null,
      by: upstream?.by ?? "own",
      notes,
    };
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
        if (!(await slots.take(expired))) return unclear("no time to verify it");
        try {
          return await check(raw, facts, expired);
        } finally {
          slots.release();
        }
      } catch (error) {
        // a bug, here or in a library: not a reason to refuse the mail for good
        log.error("mail.unverifiable", {
          remote: facts.remoteIp,
          from: facts.envelopeFrom,
          error: errorText(error),
          stack: stackOf(failureOf(error)),
        });
        return unclear("it could not be verified");
      } finally {
        timer.cancel();
      }
    },
    stats: () => {
      const [now, waiting] = [slots.running(), slots.waiting()];
      // the second pair are the names of earlier versions
      return { "auth.now": now, "auth.waiting": waiting, "carrier.now": now, "carrier.waiting": waiting };
    },
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

/**
 * True for a client of which the Authentication-Results may be trusted (RFC 8601 7.1): its address is listed, over SMTP
 * and LMTP alike. A client of a Unix socket has no address; the permissions of the socket have let it in.
 */
export function isTrustedUpstream({ remoteIp }: SessionFacts, peers: readonly string[]): boolean {
  return remoteIp === null || networkMatcher(peers)(remoteIp);
}

/** A limited number of concurrent checks; the others wait in the order in which they came. */
function makeSlots(max: number) {
  let running = 0;
  const queue: (() => void)[] = [];
  return {
    /** True when the caller may begin; false when `expired` settled before. */
    take(expired: Promise<void>): Promise<boolean> {
      if (running < max) {
        running++;
        return Promise.resolve(true);
      }
      return new Promise((resolve) => {
        const start = (): void => resolve(true);
        queue.push(start);
        void expired.then(() => {
          const at = queue.indexOf(start);
          if (at < 0) return;
          queue.splice(at, 1);
          resolve(false);
        });
      });
    },
    /** The caller has ended: the next one begins. */
    release(): void {
      const next = queue.shift();
      if (next) next();
      else running--;
    },
    running: () => running,
    waiting: () => queue.length,
  };
}
