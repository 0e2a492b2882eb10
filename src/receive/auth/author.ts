/** The author domain of a mail: the domain of its From field (RFC 9989 4.4, RFC 5322 3.6.2). */
import { type Field, unicode } from "../../format/mail/mime/headers.ts";
import { normalizeDomain } from "../../model/domain-name.ts";

/** No honest From field of a report is longer. */
const LONGEST = 2048;
const ENCODED_WORD = /=\?[^?\s]{1,40}\?[bq]\?[^?\s]{0,2000}\?=/gi;

export type Author =
  | { readonly ok: true; readonly domain: string }
  | { readonly ok: false; readonly why: string };

/** Exactly one From field with exactly one domain; anything else cannot be authenticated (RFC 9989 5.3.1). */
export function authorOf(fields: readonly Field[]): Author {
  const from = fields.filter((field) => field.name === "from");
  if (from.length !== 1)
    return { ok: false, why: from.length === 0 ? "no From field" : "several From fields" };
  if (from[0]!.value.length > LONGEST) return { ok: false, why: "the From field is too long" };
  const addresses = mailboxes(from[0]!.value);
  const domains = new Set(addresses.map(domainOf));
  if (domains.has(undefined) || domains.size === 0) return { ok: false, why: "no address in From" };
  return domains.size === 1
    ? { ok: true, domain: [...domains][0]! }
    : { ok: false, why: "several domains in From" };
}

/** The canonical domain of `local@domain`; undefined when there is none. */
export function domainOf(address: string): string | undefined {
  const at = address.lastIndexOf("@");
  return at < 1 ? undefined : normalizeDomain(address.slice(at + 1));
}

/** The addresses of a mailbox list, also those in groups; display names and comments are left out. */
export function mailboxes(value: string): string[] {
  // an encoded word is part of a display name, whatever it seems to hold
  const text = unicode(value).replace(ENCODED_WORD, "w");
  const found: string[] = [];
  let bare = "";
  let angle: string | undefined;
  let inAngle = false;
  const end = (): void => {
    const address = (angle ?? bare).trim();
    if (address !== "") found.push(address.replace(/\s+/g, ""));
    bare = "";
    angle = undefined;
    inAngle = false;
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === "(") i = endOfComment(text, i);
    else if (c === '"') {
      const close = endOfQuoted(text, i);
      if (inAngle) angle += "q";
      else bare += "q";
      i = close;
    } else if (c === "<") {
      if (angle !== undefined) found.push("?"); // a second address in one mailbox: no address at all
      angle = "";
      inAngle = true;
    } else if (c === ">") inAngle = false;
    else if (inAngle) angle += c;
    else if (c === "," || c === ";") end();
    else if (c === ":") bare = "";
    else bare += c;
  }
  end();
  return found;
}

/** The place of the `)` that ends a comment; the end of the text when none does. */
function endOfComment(text: string, start: number): number {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "(") depth++;
    else if (text[i] === ")" && --depth === 0) return i;
  }
  return text.length;
}

function endOfQuoted(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i;
  }
  return text.length;
}
