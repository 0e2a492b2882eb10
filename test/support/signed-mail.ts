/** Mails as reporters send them, with DKIM signatures, and the zone lines of their keys. */
import { createHash, createPrivateKey, sign } from "node:crypto";
import {
  dkimRecord,
  generateSigningKey,
  loadSigningKey,
  type SigningKey,
  signMessage,
} from "../../src/format/mail/dkim-sign.ts";

export const rsaPem = generateSigningKey("rsa");
const edPem = generateSigningKey("ed25519");

export const rsaKey = (domain: string, selector = "rsa"): SigningKey =>
  loadSigningKey(rsaPem, domain, selector);
export const edKey = (domain: string, selector = "ed"): SigningKey => loadSigningKey(edPem, domain, selector);

/** A zone line for the key, with other tags if they are given: `s=tlsrpt; `. */
export const keyLine = (key: SigningKey, tags = ""): string =>
  dkimRecord(key).replace(". TXT", " TXT").replace("v=DKIM1; ", `v=DKIM1; ${tags}`);

interface Parts {
  readonly header: string;
  readonly body: string;
}

function partsOf(raw: Buffer): Parts {
  const text = raw.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  return { header: text.slice(0, end + 2), body: text.slice(end + 4) };
}

/** Adds our signatures to a mail of CRLF lines. */
export function signed(raw: Buffer, ...keys: SigningKey[]): Buffer {
  const { header, body } = partsOf(raw);
  const fields = header
    .split(/\r\n(?![ \t])/)
    .filter(Boolean)
    .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)] as const);
  return Buffer.concat([Buffer.from(signMessage(fields, body, keys, 1_795_046_400), "latin1"), raw]);
}

/** One simple/simple signature with tags of the test's choice; `names` in h=. */
export function signedSimply(
  raw: Buffer,
  key: SigningKey,
  names: readonly string[],
  tags = "",
  hashed = (body: string): string => body,
): Buffer {
  const { header, body } = partsOf(raw);
  const lines = header.split(/\r\n(?![ \t])/).filter(Boolean);
  const bodyHash = createHash("sha256").update(hashed(body), "latin1").digest("base64");
  const field = `DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=${key.domain}; s=${key.selector}; ${tags}h=${names.join(":")}; bh=${bodyHash}; b=`;
  const covered = names.map(
    (name) => lines.findLast((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`))!,
  );
  const data = Buffer.from([...covered, field].join("\r\n"), "latin1");
  const signature = sign("sha256", data, createPrivateKey(rsaPem)).toString("base64");
  return Buffer.concat([Buffer.from(`${field}${signature}\r\n`, "latin1"), raw]);
}
