/** The RFC 5322 message with a report (RFC 9990 3.5.2, RFC 8460 5.3): pure ASCII, stable bytes, signed. */
import { iso } from "../../lib/units.ts";
import type { OutgoingKind } from "../../model/outgoing.ts";
import type { ReportIdentity } from "../dmarc/write.ts";
import { type SigningKey, signMessage } from "./dkim-sign.ts";

export interface ReportMail {
  readonly kind: OutgoingKind;
  readonly identity: ReportIdentity;
  readonly policyDomain: string;
  /** As in the report; for TLS `left@right`. */
  readonly reportId: string;
  readonly fileName: string;
  /** Compressed report. */
  readonly attachment: Uint8Array;
  readonly to: string;
  /** With angle brackets. */
  readonly messageId: string;
  readonly begin: number;
  readonly end: number;
  /** When it was composed; the Date. */
  readonly time: number;
  readonly rows: number;
  readonly messages: number;
  readonly keys: readonly SigningKey[];
}

/** `Report Domain: … Submitter: … Report-ID: <…>`, folded. */
export function reportSubject(
  kind: OutgoingKind,
  domain: string,
  submitter: string,
  reportId: string,
): string {
  const id = kind === "tls" || reportId.includes("@") ? `<${reportId}>` : reportId;
  return `Report Domain: ${domain}\r\n Submitter: ${submitter}\r\n Report-ID: ${id}`;
}

/** The whole message. */
export function writeReportMail(mail: ReportMail): Buffer {
  const { kind, identity, policyDomain } = mail;
  const boundary = `report-${mail.reportId.replace(/[^A-Za-z0-9]/g, "").slice(0, 40)}`;
  const container = kind === "dmarc" ? "multipart/mixed" : 'multipart/report; report-type="tlsrpt"';
  const fields: (readonly [string, string])[] = [
    ["From", `${displayName(`${identity.orgName} reports`)} <${identity.from}>`],
    ["To", `<${mail.to}>`],
    ["Subject", reportSubject(kind, policyDomain, identity.submitter, mail.reportId)],
    ["Date", mailTime(mail.time)],
    ["Message-ID", mail.messageId],
    ["Auto-Submitted", "auto-generated"],
    ...(kind === "tls"
      ? ([
          ["TLS-Report-Domain", policyDomain],
          ["TLS-Report-Submitter", identity.submitter],
          ["TLS-Required", "No"],
        ] as const)
      : []),
    ["MIME-Version", "1.0"],
    ["Content-Type", `${container};\r\n boundary="${boundary}"`],
  ];
  const type = kind === "dmarc" ? "application/gzip" : "application/tlsrpt+gzip";
  const body = [
    "This is a multi-part message in MIME format.",
    `--${boundary}`,
    'Content-Type: text/plain; charset="us-ascii"',
    "Content-Transfer-Encoding: 7bit",
    "",
    explanation(mail),
    `--${boundary}`,
    `Content-Type: ${type};\r\n name="${mail.fileName}"`,
    "Content-Transfer-Encoding: base64",
    `Content-Disposition: attachment;\r\n filename="${mail.fileName}"`,
    "",
    Buffer.from(mail.attachment)
      .toString("base64")
      .replace(/.{76}(?=.)/g, "$&\r\n"),
    `--${boundary}--`,
    "",
  ].join("\r\n");
  const header = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return Buffer.from(`${signMessage(fields, body, mail.keys, mail.time)}${header}\r\n${body}`, "latin1");
}

/** The text for a person who opens the mail. */
function explanation({
  kind,
  identity,
  policyDomain,
  begin,
  end,
  rows,
  messages,
  reportId,
}: ReportMail): string {
  const dmarc = kind === "dmarc";
  return [
    dmarc
      ? "This is a DMARC aggregate report (RFC 9990), made by a program. The domain below"
      : "This is an SMTP TLS report (RFC 8460), made by a program. The domain below",
    dmarc
      ? `asks for it in its DNS record at _dmarc.${policyDomain}.`
      : `asks for it in its DNS record at _smtp._tls.${policyDomain}.`,
    "",
    `Domain:     ${policyDomain}`,
    `Submitter:  ${identity.submitter}`,
    `Report-ID:  ${reportId}`,
    `Period:     ${iso(begin)} to ${iso(end)}`,
    `Rows:       ${rows}`,
    `${dmarc ? "Messages:   " : "Sessions:   "}${messages}`,
    `Contact:    ${ascii(identity.contactInfo ?? identity.from)}`,
    "",
    "To stop these reports, take our address out of that record or write to the contact.",
    "",
  ].join("\r\n");
}

function ascii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}

/** A display name: quoted, or encoded words (RFC 2047) where it is not ASCII. */
function displayName(name: string): string {
  if (/^[\x20-\x7e]*$/.test(name)) return `"${name.replace(/["\\]/g, "\\$&")}"`;
  const words: string[] = [];
  let piece = "";
  for (const char of name.replace(/[\r\n]/g, " ")) {
    if (Buffer.byteLength(piece + char) > 40) {
      words.push(piece);
      piece = "";
    }
    piece += char;
  }
  return [...words, piece].map((word) => `=?utf-8?B?${Buffer.from(word).toString("base64")}?=`).join("\r\n ");
}

/** RFC 5322 3.3, in UTC. */
export function mailTime(seconds: number): string {
  return new Date(seconds * 1000).toUTCString().replace("GMT", "+0000");
}
