/**
 * The DKIM pre-check: the form of a mail before its signatures are verified. The verifier has a header parser of its own
 * and spends time and memory on unusual bodies: a mail that both parsers could understand differently, or that would
 * cost too much, is not verified.
 */
import { type Field, lineEnd } from "../../format/mail/mime/headers.ts";

/** Signatures that are verified; large reporters send one or two. */
const MAX_SIGNATURES = 8;
const LONGEST_FIELD = 8192;
const MAX_HEADER_LINES = 2000;
const LONGEST_HEADER = 131_072;
/** A line of the body; RFC 5322 allows 998. */
const LONGEST_LINE = 262_144;
/** Lines that the verifier handles one by one: of blanks only, or ended by a bare LF. */
const MAX_ODD_LINES = 10_000;

/** Fields by which the content is understood: a second one could be put before the signed one (RFC 6376 8.15). */
const SINGLE = [
  "from",
  "subject",
  "content-type",
  "content-transfer-encoding",
  "tls-report-domain",
  "tls-report-submitter",
];

const LF = 0x0a;
const CR = 0x0d;

export type Signed =
  | {
      readonly ok: true;
      /** The header with the usable signatures, up to the maximum, and without ARC, ending in the empty line. */
      readonly header: Buffer;
      readonly body: Buffer;
      readonly signatures: number;
    }
  | { readonly ok: false; readonly why: string };

/**
 * Prepares a mail for the verifier.
 * @param fields its header as the report parsers see it
 * @param bodyStart where they see the body begin: another place than the verifier's would let unsigned text pass
 */
export function signedForm(raw: Buffer, fields: readonly Field[], bodyStart: number): Signed {
  const end = headerEnd(raw);
  if (end === undefined || end !== bodyStart) return { ok: false, why: "the header is not well-formed" };
  if (end > LONGEST_HEADER) return { ok: false, why: "the header is too large" };
  for (const name of SINGLE) {
    const same = fields.filter((field) => field.name === name);
    if (same.length > 1) return { ok: false, why: `several ${name} fields` };
    if ((same[0]?.value.length ?? 0) > LONGEST_FIELD)
      return { ok: false, why: `the ${name} field is too long` };
  }
  const header = usableHeader(raw.subarray(0, end));
  if (header === undefined) return { ok: false, why: "the header has too many lines" };
  const body = raw.subarray(end);
  if (header.signatures > 0 && isOdd(body)) return { ok: false, why: "lines of the body are too odd" };
  return { ok: true, ...header, body };
}

/** Behind the first empty line. */
function headerEnd(raw: Buffer): number | undefined {
  for (let at = 0; at < Math.min(raw.length, LONGEST_HEADER + 2); ) {
    const next = lineEnd(raw, at, raw.length);
    if (raw[at] === LF || (raw[at] === CR && raw[at + 1] === LF)) return next;
    at = next;
  }
  return undefined;
}

/** The header without ARC and without signatures that cannot count. */
function usableHeader(header: Buffer): { readonly header: Buffer; readonly signatures: number } | undefined {
  const kept: Buffer[] = [];
  let signatures = 0;
  let lines = 0;
  for (let at = 0; at < header.length; ) {
    let end = lineEnd(header, at, header.length);
    lines++;
    while (end < header.length && (header[end] === 0x20 || header[end] === 0x09)) {
      end = lineEnd(header, end, header.length);
      lines++;
    }
    if (lines > MAX_HEADER_LINES) return undefined;
    const name = header
      .toString("latin1", at, Math.min(end, at + 64))
      .split(":", 1)[0]!
      .trim()
      .toLowerCase();
    const field = header.subarray(at, end);
    const isSignature = name === "dkim-signature";
    if (isSignature && signatures < MAX_SIGNATURES && isUsable(field)) {
      signatures++;
      kept.push(field);
    } else if (!isSignature && !name.startsWith("arc-")) kept.push(field);
    at = end;
  }
  return { header: Buffer.concat(kept), signatures };
}

/**
 * A signature that may count: version 1, an algorithm of RFC 8301 and RFC 8463, no `l=`, which would let anybody add
 * to the mail (RFC 8460 3), and no tag twice (RFC 6376 3.2).
 */
export function isUsable(field: Buffer): boolean {
  if (field.length > LONGEST_FIELD) return false;
  const text = field.toString("latin1");
  const tags = new Map<string, string>();
  for (const part of text.slice(text.indexOf(":") + 1).split(";")) {
    const equals = part.indexOf("=");
    if (equals < 0) {
      if (part.trim() !== "") return false;
      continue;
    }
    const name = part.slice(0, equals).trim().toLowerCase();
    if (tags.has(name)) return false;
    tags.set(name, part.slice(equals + 1).replace(/\s/g, ""));
  }
  const names = (tags.get("h") ?? "").toLowerCase().split(":");
  return (
    tags.get("v") === "1" &&
    /^(?:rsa|ed25519)-sha256$/i.test(tags.get("a") ?? "") &&
    !tags.has("l") &&
    names.includes("from") &&
    isInDomain(tags.get("i"), tags.get("d") ?? "")
  );
}

/** i= is of d= or below it (RFC 6376 3.5). */
function isInDomain(identity: string | undefined, domain: string): boolean {
  if (identity === undefined) return true;
  const of = identity.slice(identity.lastIndexOf("@") + 1).toLowerCase();
  return of === domain.toLowerCase() || of.endsWith(`.${domain.toLowerCase()}`);
}

function isOdd(body: Buffer): boolean {
  let odd = 0;
  for (let at = 0; at < body.length; ) {
    const end = lineEnd(body, at, body.length);
    if (end - at > LONGEST_LINE) return true;
    const bare = body[end - 1] === LF && body[end - 2] !== CR;
    if ((bare || isBlank(body, at, end)) && ++odd > MAX_ODD_LINES) return true;
    at = end;
  }
  return false;
}

/** Blanks and nothing else; an empty line is not. */
function isBlank(body: Buffer, start: number, end: number): boolean {
  if (body[start] !== 0x20 && body[start] !== 0x09) return false;
  for (let i = start; i < end; i++) {
    const c = body[i];
    if (c !== 0x20 && c !== 0x09 && c !== CR && c !== LF) return false;
  }
  return true;
}
