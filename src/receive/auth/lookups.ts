/** Limits the DNS questions that one mail causes, in number and time; for our code and for mailauth. */
import { type DnsAnswer, nodata, type Resolver, temporary } from "../../dns/resolver.ts";
import { normalizeIp } from "../../model/ip.ts";

/** SPF alone may cause 10 terms with 10 addresses each (RFC 7208 4.6.4); honest mails need some 15. */
const MAX_QUESTIONS = 150;
/** Longer TXT records are ignored (an RSA key of 8192 bits has about 1,400 characters). */
const LONGEST_TEXT = 4096;
/** Longest term of an SPF record: a domain name with macros. */
const LONGEST_TERM = 400;

/** A resolver that answers `temporary` after `expired` has resolved or when too many questions were asked. */
export function boundedResolver(next: Resolver, expired: Promise<void>): Resolver {
  let asked = 0;
  let late = false;
  void expired.then(() => {
    late = true;
  });
  async function ask<T>(question: () => Promise<DnsAnswer<T>>): Promise<DnsAnswer<T>> {
    if (late) return temporary("no answer in time");
    if (++asked > MAX_QUESTIONS) return temporary("too many DNS questions");
    return Promise.race([question(), expired.then(() => temporary("no answer in time"))]);
  }
  return {
    txt: async (name) => {
      const answer = await ask(() => next.txt(name));
      if (!answer.ok) return answer;
      const records = answer.records.filter((text) => text.length <= LONGEST_TEXT);
      return records.length > 0 ? { ok: true, records } : nodata(name);
    },
    mx: (name) => ask(() => next.mx(name)),
    addresses: (name, family) => ask(() => next.addresses(name, family)),
    ptr: (ip) => ask(() => next.ptr(ip)),
  };
}

/** Asks no name server: for verdicts from trusted results alone, when mail is not verified here. */
export const silentResolver: Resolver = {
  txt: async (name) => nodata(name),
  mx: async (name) => nodata(name),
  addresses: async (name) => nodata(name),
  ptr: async (ip) => nodata(ip),
};

/** The errors that mailauth knows: a temporary one must be ETIMEOUT, because it treats all others inside `include` as no match. */
const CODES = { nxdomain: "ENOTFOUND", nodata: "ENODATA", temporary: "ETIMEOUT" } as const;

function recordsOf<T>(answer: DnsAnswer<T>): T[] {
  if (answer.ok) return [...answer.records];
  throw Object.assign(new Error(answer.detail), { code: CODES[answer.code] });
}

/** `dns.promises.resolve` over our resolver, in the form that mailauth expects. */
export function resolveFunction(resolver: Resolver): (name: string, type: string) => Promise<never> {
  const ask = async (name: string, type: string): Promise<unknown> => {
    switch (type) {
      case "TXT":
        return recordsOf(await resolver.txt(name)).map((text) => [checked(text)]);
      case "MX":
        return recordsOf(await resolver.mx(name)).map((mx) => ({
          priority: mx.preference,
          exchange: mx.exchange,
        }));
      case "A":
      case "AAAA":
        return recordsOf(await resolver.addresses(name, type === "A" ? 4 : 6));
      case "PTR": {
        const ip = addressOf(name);
        return ip === undefined ? [] : recordsOf(await resolver.ptr(ip));
      }
      default:
        return recordsOf(nodata(name));
    }
  };
  return ask as (name: string, type: string) => Promise<never>;
}

/** An SPF record with endless terms would cost time in the expressions it meets. */
function checked(text: string): string {
  if (/^\s*v=spf1\b/i.test(text) && text.split(/\s+/).some((term) => term.length > LONGEST_TERM)) {
    throw Object.assign(new Error("a term of the SPF record is too long"), {
      spfResult: { error: "permerror", text: "a term is too long" },
    });
  }
  return text;
}

/** The address of a reverse name. */
export function addressOf(name: string): string | undefined {
  const labels = name.toLowerCase().split(".").reverse();
  if (labels[0] !== "arpa") return undefined;
  if (labels[1] === "in-addr") return normalizeIp(labels.slice(2).join("."));
  const groups = labels.slice(2).join("").match(/.{4}/g);
  return labels[1] === "ip6" && groups !== null ? normalizeIp(groups.join(":")) : undefined;
}
