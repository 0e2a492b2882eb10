/** Report URIs: rua of DMARC (RFC 9989 4.8) and TLSRPT (RFC 8460 3) records. */
import { type MailAddress, normalizeDomain, parseAddress } from "../model/domain-name.ts";

/** URIs of one record that are looked at. */
const MOST_URIS = 10;

export type ReportUri =
  | { readonly scheme: "mailto"; readonly uri: string; readonly address: string; readonly host: string }
  | { readonly scheme: "https"; readonly uri: string; readonly host: string };

export interface UriList {
  readonly usable: readonly ReportUri[];
  readonly refused: readonly { readonly uri: string; readonly why: string }[];
}

/** Parses the URIs of a record, in order, each address once. Unsupported and malformed ones are listed separately and not used. */
export function readUris(uris: readonly string[], https: boolean): UriList {
  const usable: ReportUri[] = [];
  const refused: { uri: string; why: string }[] = [];
  const seen = new Set<string>();
  for (const uri of uris.slice(0, MOST_URIS)) {
    const read = readUri(uri, https);
    if (typeof read === "string") refused.push({ uri, why: read });
    else {
      const key = read.scheme === "mailto" ? read.address : read.uri;
      if (!seen.has(key)) usable.push(read);
      seen.add(key);
    }
  }
  for (const uri of uris.slice(MOST_URIS)) refused.push({ uri, why: `more than ${MOST_URIS} in one record` });
  return { usable, refused };
}

function readUri(text: string, https: boolean): ReportUri | string {
  // `!10m` is a size limit of RFC 7489; reporters ignore it now (RFC 9989 4.8)
  const uri = text.trim().replace(/!\d{1,15}[kmgt]?$/i, "");
  if (/^mailto:/i.test(uri)) {
    const address = readMailto(uri);
    if (!address) return "not an address";
    return {
      scheme: "mailto",
      uri: text,
      address: `${address.local}@${address.domain}`,
      host: address.domain,
    };
  }
  if (!/^https:/i.test(uri)) return "unsupported scheme";
  if (!https) return "https is not for DMARC reports";
  try {
    const url = new URL(uri);
    const host = normalizeDomain(url.hostname);
    if (host === undefined || url.username !== "" || url.password !== "") return "not a usable https address";
    return { scheme: "https", uri, host };
  } catch {
    return "malformed"; // the URL parser gives no reason
  }
}

/** RFC 6068: percent-decoded, header fields dropped, the local part's case kept. */
function readMailto(uri: string): MailAddress | undefined {
  const encoded = uri.slice("mailto:".length).replace(/\?.*$/s, "");
  try {
    return parseAddress(decodeURIComponent(encoded));
  } catch {
    return undefined; // malformed percent-encoding
  }
}
