/**
 * From the tallies of one outgoing report to its documents and messages. Pure and deterministic: the same input gives
 * the same bytes, so a retry or a crash repeats nothing differently.
 */
import { gzipSync } from "node:zlib";
import type { OutgoingKind, OutgoingPolicy, TallyRow } from "../../model/outgoing.ts";
import { type ReportIdentity, writeDmarc } from "../dmarc/write.ts";
import type { SigningKey } from "../mail/dkim-sign.ts";
import { writeReportMail } from "../mail/report-mail.ts";
import { type TlsTally, writeTls } from "../tlsrpt/write.ts";
import { readBackDmarc, readBackTls } from "./read-back.ts";

export interface ComposeInput {
  readonly kind: OutgoingKind;
  readonly identity: ReportIdentity;
  readonly policyDomain: string;
  readonly begin: number;
  readonly end: number;
  readonly policy: OutgoingPolicy;
  readonly rows: readonly TallyRow[];
  readonly note: string | null;
  readonly profile: "both" | "rfc9990";
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

function documentOf(
  input: ComposeInput,
  rows: readonly TallyRow[],
  part: number,
  parts: number,
): ReportDocument {
  const { identity, policyDomain, begin, end } = input;
  const id = input.reportId(part);
  const unique = parts > 1 ? `!${id}` : "";
  const name = `${identity.submitter}!${policyDomain}!${begin}!${end}${unique}`;
  if (input.policy.kind === "dmarc") {
    const document = {
      identity,
      reportId: id,
      begin,
      end,
      policy: input.policy.policy,
      rows: rows.filter((r) => r.kind === "dmarc"),
      note: input.note,
      profile: input.profile,
    };
    const text = writeDmarc(document);
    readBackDmarc(text, document);
    const messages = document.rows.reduce((sum, r) => sum + r.count, 0);
    return { reportId: id, fileName: `${name}.xml.gz`, body: gzip(text, input), rows: rows.length, messages };
  }
  const document = {
    identity,
    reportId: `${id}@${identity.submitter}`,
    begin,
    end,
    rows: rows.filter((r): r is TlsTally => r.kind === "tls"),
  };
  const text = writeTls(document);
  readBackTls(text, document);
  const messages = document.rows.reduce((sum, r) => sum + r.success + r.failure, 0);
  return {
    reportId: document.reportId,
    fileName: `${name}.json.gz`,
    body: gzip(text, input),
    rows: rows.length,
    messages,
  };
}

/** Level 6; 9 where it may save a split. The header has no time, so the bytes are stable. */
function gzip(text: string, { maxMessageSize }: ComposeInput): Uint8Array {
  const body = gzipSync(text, { level: 6 });
  return body.byteLength * MAIL_OVERHEAD + MAIL_FIXED > maxMessageSize ? gzipSync(text, { level: 9 }) : body;
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
