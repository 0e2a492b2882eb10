/** DKIM signatures (RFC 6376, RFC 8301, RFC 8463): rsa-sha256 and ed25519-sha256, relaxed/relaxed, no l=. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { MailreportError } from "../../lib/errors.ts";

export interface SigningKey {
  readonly domain: string;
  readonly selector: string;
  readonly algorithm: "rsa-sha256" | "ed25519-sha256";
  readonly key: KeyObject;
}

/** Signed when present; those marked are listed once more, so that none can be added (RFC 6376 5.4.2). */
const SIGNED: readonly (readonly [name: string, once: boolean])[] = [
  ["From", true],
  ["To", true],
  ["Subject", true],
  ["Date", true],
  ["Message-ID", true],
  ["Auto-Submitted", true],
  ["TLS-Report-Domain", true],
  ["TLS-Report-Submitter", true],
  ["TLS-Required", true],
  ["MIME-Version", true],
  ["Content-Type", true],
];

/** Reads a PEM private key. Errors: `dkim.key_unusable` (RSA below 2048 bits, other kinds). */
export function loadSigningKey(pem: string, domain: string, selector: string): SigningKey {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new MailreportError("dkim.key_unusable", { detail: `${selector}: not a PEM private key`, cause });
  }
  if (key.asymmetricKeyType === "ed25519") return { domain, selector, algorithm: "ed25519-sha256", key };
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "rsa" || bits < 2048) {
    throw new MailreportError("dkim.key_unusable", {
      detail: `${selector}: ${key.asymmetricKeyType} ${bits || ""}`,
    });
  }
  return { domain, selector, algorithm: "rsa-sha256", key };
}

/** A new private key as PEM. */
export function generateSigningKey(type: "rsa" | "ed25519"): string {
  const { privateKey } =
    type === "rsa" ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ed25519");
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

/** The DNS record to publish. Without s=, so that the signature counts for DMARC and TLS reports alike (RFC 8460 3). */
export function dkimRecord({ domain, selector, algorithm, key }: SigningKey): string {
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const rsa = algorithm === "rsa-sha256";
  const data = (rsa ? spki : spki.subarray(-32)).toString("base64");
  const text = `v=DKIM1; k=${rsa ? "rsa" : "ed25519"}; p=${data}`;
  const strings = text.match(/.{1,250}/g)!.map((piece) => `"${piece}"`);
  return `${selector}._domainkey.${domain}. TXT ${strings.join(" ")}`;
}

/** Relaxed canonicalization of one header field (RFC 6376 3.4.2). */
function relaxedField(name: string, value: string): string {
  return `${name.toLowerCase()}:${value
    .replace(/\r\n/g, "")
    .replace(/[ \t]+/g, " ")
    .trim()}`;
}

/** Relaxed canonicalization of a body (RFC 6376 3.4.4). */
function relaxedBody(body: string): string {
  const text = body
    .replace(/[ \t]+(?=\r\n)/g, "")
    .replace(/[ \t]+/g, " ")
    .replace(/(?:\r\n)+$/, "");
  return text === "" ? "" : `${text}\r\n`;
}

/**
 * The DKIM-Signature fields for a message, each ending in CRLF, to be put before its header.
 * @param fields in order, values as they stand in the message (folded with CRLF)
 * @param body with CRLF line ends, ASCII
 * @param time epoch seconds
 */
export function signMessage(
  fields: readonly (readonly [name: string, value: string])[],
  body: string,
  keys: readonly SigningKey[],
  time: number,
): string {
  const bodyHash = createHash("sha256").update(relaxedBody(body), "latin1").digest("base64");
  const present = new Map(fields.map(([name, value]) => [name.toLowerCase(), [name, value] as const]));
  const names = SIGNED.filter(([name]) => present.has(name.toLowerCase()));
  const listed = [...names.map(([name]) => name), ...names.filter(([, once]) => once).map(([name]) => name)];
  const signed = names.map(([name]) => relaxedField(name, present.get(name.toLowerCase())![1]));
  return keys
    .map(({ domain, selector, algorithm, key }) => {
      const value =
        `v=1; a=${algorithm}; c=relaxed/relaxed; d=${domain};\r\n s=${selector}; t=${time};\r\n` +
        ` h=${fold(listed)};\r\n bh=${bodyHash};\r\n b=`;
      const data = Buffer.from(
        `${signed.join("\r\n")}\r\n${relaxedField("DKIM-Signature", value)}`,
        "latin1",
      );
      const signature =
        algorithm === "rsa-sha256"
          ? sign("sha256", data, key)
          : sign(null, createHash("sha256").update(data).digest(), key); // RFC 8463 3: signs the hash
      const text = signature
        .toString("base64")
        .match(/.{1,70}/g)!
        .join("\r\n  ");
      return `DKIM-Signature: ${value}${text}\r\n`;
    })
    .join("");
}

function fold(names: readonly string[]): string {
  let line = "";
  const lines: string[] = [];
  for (const name of names) {
    if (line.length + name.length > 60) {
      lines.push(line);
      line = "";
    }
    line += `${name}:`;
  }
  return [...lines, line].join("\r\n  ").replace(/:$/, "");
}
