/** TLSRPT policy records (RFC 8460 3). */
import type { DnsFailure, Resolver } from "./resolver.ts";

const VERSION = /^v=TLSRPTv1[ \t]*;/;

/** The rua URIs of a TLSRPT record, as written; undefined when the text is none. */
export function parseTlsrptRecord(text: string): readonly string[] | undefined {
  if (!VERSION.test(text)) return undefined;
  for (const part of text.split(";").slice(1, 100)) {
    const match = /^\s*rua\s*=\s*(.*)$/is.exec(part);
    if (match) {
      return match[1]!
        .split(",")
        .map((uri) => uri.trim())
        .filter((uri) => uri !== "");
    }
  }
  return undefined;
}

export type TlsrptAt =
  | { readonly found: true; readonly record: string; readonly rua: readonly string[] }
  | { readonly found: false; readonly failure: DnsFailure | null };

/** The record of a policy domain; unless exactly one is left there is none. */
export async function tlsrptAt(resolver: Resolver, domain: string): Promise<TlsrptAt> {
  const answer = await resolver.txt(`_smtp._tls.${domain}`);
  if (!answer.ok) return { found: false, failure: answer.code === "temporary" ? answer : null };
  const records = answer.records.filter((text) => VERSION.test(text));
  if (records.length !== 1) return { found: false, failure: null };
  const rua = parseTlsrptRecord(records[0]!);
  return rua && rua.length > 0 ? { found: true, record: records[0]!, rua } : { found: false, failure: null };
}
