/**
 * From the tallies of one outgoing report to its documents and messages. Pure and deterministic: the same input gives
 * the same bytes, so a retry or a crash repeats nothing differently.
 */
import { gzipSync } from "node:zlib";
import type { OutgoingKind, OutgoingPolicy, TallyRow, TallyRows } from "../../model/outgoing.ts";
import {
  type DmarcDocument,
  dmarcPieces,
  needsRfc9990,
  type Profile,
  type ReportIdentity,
} from "../dmarc/write.ts";
import type { SigningKey } from "../mail/dkim-sign.ts";
import { writeReportMail } from "../mail/report-mail.ts";
import { type TlsTally, tlsValue, writeTls } from "../tlsrpt/write.ts";
import { readBackDmarc } from "./read-back-dmarc.ts";
import { FOREIGN_RECORDS, readBackForeign } from "./read-back-foreign.ts";
import { readBackTls } from "./read-back-tls.ts";

export interface ComposeInput {
  readonly kind: OutgoingKind;
  readonly identity: ReportIdentity;
  readonly policyDomain: string;
  readonly begin: number;
  readonly end: number;
  readonly policy: OutgoingPolicy;
  readonly rows: TallyRows;
  readonly note: string | null;
  readonly profile: Profile;
  /** Bytes of one message; larger reports are split. */
  readonly maxMessageSize: number;
  /** The alphanumeric id of a part, counted from 0. */
  readonly reportId: (part: number) => string;
}

/** One report as a compressed file. */
export interface ReportDocument {
  readonly reportId: string;
  readonly fileName: string;
  readonly body: Uint8Array;
  readonly rows: number;
  readonly messages: number;
}

export interface AddressedMail {
  readonly document: ReportDocument;
  readonly to: string;
  readonly messageId: string;
  readonly raw: Uint8Array;
}

/** base64 in lines of 76, and the rest of the message. */
const MAIL_OVERHEAD = 1.38;
const MAIL_FIXED = 6000;

/** The documents of a report, usually one. Errors: `compose.readback_differs`. */
export function composeDocuments(input: ComposeInput): ReportDocument[] {
  const whole = documentOf(input, input.rows, 0, 1);
  const size = whole.body.byteLength * MAIL_OVERHEAD + MAIL_FIXED;
  if (size <= input.maxMessageSize || input.rows.length < 2) return [whole];
  const parts = Math.min(input.rows.length, Math.ceil((size / input.maxMessageSize) * 1.1));
  const perPart = Math.ceil(input.rows.length / parts);
  const documents: ReportDocument[] = [];
  for (let i = 0; i * perPart < input.rows.length; i++) {
    documents.push(documentOf(input, input.rows.slice(i * perPart, (i + 1) * perPart), i, parts));
  }
  return documents;
}

type DmarcTally = Extract<TallyRow, { kind: "dmarc" }>;

function documentOf(input: ComposeInput, rows: TallyRows, part: number, parts: number): ReportDocument {
  const { identity, policyDomain, begin, end } = input;
  const id = input.reportId(part);
  const unique = parts > 1 ? `!${id}` : "";
  const name = `${identity.submitter}!${policyDomain}!${begin}!${end}${unique}`;
  return input.policy.kind === "dmarc"
    ? dmarcDocument(input, input.policy.policy, rows as TallyRows<DmarcTally>, id, name)
    : tlsDocument(input, rows as TallyRows<TlsTally>, `${id}@${identity.submitter}`, name);
}

function dmarcDocument(
  input: ComposeInput,
  policy: DmarcDocument["policy"],
  rows: TallyRows<DmarcTally>,
  reportId: string,
  name: string,
): ReportDocument {
  const { identity, begin, end, note } = input;
  let messages = 0;
  // SPF's `policy` is a word of RFC 9990
  let news = input.profile === "rfc9990" || needsRfc9990(policy);
  for (const { row, count } of rows) {
    messages += count;
    news ||= row.spf?.result === "policy";
  }
  const profile: Profile = news ? "rfc9990" : "both";
  const document: DmarcDocument = { identity, reportId, begin, end, policy, rows, note, profile };
  const bytes = encoded(dmarcPieces(document));
  readBackDmarc(bytes, document);
  if (rows.length <= FOREIGN_RECORDS) readBackForeign(bytes, document);
  return { reportId, fileName: `${name}.xml.gz`, body: gzip(bytes, input), rows: rows.length, messages };
}

function tlsDocument(
  input: ComposeInput,
  rows: TallyRows<TlsTally>,
  reportId: string,
  name: string,
): ReportDocument {
  const { identity, begin, end } = input;
  const document = { identity, reportId, begin, end, rows };
  const value = tlsValue(document);
  const bytes = encoded([writeTls(value)]);
  readBackTls(bytes, value, document);
  let messages = 0;
  for (const { success, failure } of rows) messages += success + failure;
  return { reportId, fileName: `${name}.json.gz`, body: gzip(bytes, input), rows: rows.length, messages };
}

const CHUNK = 1 << 20;

/** Pieces of text as UTF-8. A large report never exists as one string. */
function encoded(pieces: Iterable<string>): Uint8Array {
  const chunks: Buffer[] = [];
  let text = "";
  for (const piece of pieces) {
    text += piece;
    if (text.length < CHUNK) continue;
    chunks.push(Buffer.from(text));
    text = "";
  }
  if (text !== "") chunks.push(Buffer.from(text));
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

/** Level 6; 9 where it may save a split. The header has no time, so the bytes are stable. */
function gzip(bytes: Uint8Array, { maxMessageSize }: ComposeInput): Uint8Array {
  const body = gzipSync(bytes, { level: 6 });
  return body.byteLength * MAIL_OVERHEAD + MAIL_FIXED > maxMessageSize ? gzipSync(bytes, { level: 9 }) : body;
}

/**
 * The message for one recipient.
 * @param recipient number of the recipient, from 1
 * @param time epoch seconds of the composition
 */
export function composeMail(
  input: ComposeInput,
  document: ReportDocument,
  to: string,
  recipient: number,
  time: number,
  keys: readonly SigningKey[],
): AddressedMail {
  const left = document.reportId.replace(/@.*$/, "");
  const messageId = `<${left}.r${recipient}@${input.identity.submitter}>`;
  const raw = writeReportMail({
    kind: input.kind,
    identity: input.identity,
    policyDomain: input.policyDomain,
    reportId: document.reportId,
    fileName: document.fileName,
    attachment: document.body,
    to,
    messageId,
    begin: input.begin,
    end: input.end,
    time,
    rows: document.rows,
    messages: document.messages,
    keys,
  });
  return { document, to, messageId, raw };
}
