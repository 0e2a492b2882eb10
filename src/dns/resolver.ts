/** The interface of name resolution: answers are values, and a failure says whether it is temporary. */

export type DnsFailure = {
  readonly ok: false;
  /** nxdomain: no such name; nodata: the name has no such record; temporary: no answer now. */
  readonly code: "nxdomain" | "nodata" | "temporary";
  readonly detail: string;
};
export type DnsAnswer<T> = { readonly ok: true; readonly records: readonly T[] } | DnsFailure;

export interface MxRecord {
  readonly preference: number;
  /** "" is the null MX (RFC 7505). */
  readonly exchange: string;
}

export interface Resolver {
  /** TXT records, the character-strings of each joined (RFC 9989 4.5). */
  txt(name: string): Promise<DnsAnswer<string>>;
  mx(name: string): Promise<DnsAnswer<MxRecord>>;
  addresses(name: string, family: 4 | 6): Promise<DnsAnswer<string>>;
  ptr(ip: string): Promise<DnsAnswer<string>>;
}

export const nodata = (name: string): DnsFailure => ({ ok: false, code: "nodata", detail: name });
export const nxdomain = (name: string): DnsFailure => ({ ok: false, code: "nxdomain", detail: name });
export const temporary = (detail: string): DnsFailure => ({ ok: false, code: "temporary", detail });
