/** Reads delivery status notifications (RFC 3464, RFC 6533) and makes a best guess of bounces in prose. */
import { WarningList } from "../model/outcome.ts";
import type { ItemReading } from "../model/reading.ts";
import type { DsnRecipient, DsnReport } from "../model/report.ts";
import { mailDate } from "./mail-headers.ts";
import { type Field, firstField, readHeaderBlock } from "./mime/headers.ts";
import type { Part } from "./mime/parts.ts";
import { afterType, bodyBytes, deliver, fieldGroups, type PartReading } from "./report-fields.ts";

const ACTIONS = new Set(["failed", "delayed", "delivered", "relayed", "expanded"]);
const STATUS = /\b([245]\.\d{1,3}\.\d{1,3})\b/;
const RETURNED = /^(?:message\/(?:rfc822|global|rfc822-headers|global-headers)|text\/rfc822(?:-headers)?)$/;

/** Reads the notification around a delivery-status part. */
export function readDsn(status: Part, reading: PartReading): ItemReading {
  const { bytes, context, part, headers, parts } = reading;
  const warnings = new WarningList();
  const groups = fieldGroups(bodyBytes(bytes, status), context);
  const perMessage = groups.find((g) => !isRecipient(g)) ?? groups[0] ?? [];
  const recipients = groups.filter(isRecipient).map((g) => recipientOf(g, warnings));
  if (recipients.length === 0)
    return { ok: false, kind: "dsn", reason: "bad-dsn", detail: "no recipient", part };
  const get = (name: string): string | null => firstField(perMessage, name);
  const returned = parts.find((p) => RETURNED.test(p.mediaType));
  const arrival = mailDate(get("arrival-date"));
  const report: DsnReport = {
    kind: "dsn",
    reportingMta: get("reporting-mta") === null ? null : afterType(get("reporting-mta")!) || null,
    originalEnvelopeId: get("original-envelope-id"),
    arrivalDate: arrival,
    originalMessageId: returned ? messageIdOf(bodyBytes(bytes, returned, 65_536), reading) : null,
    structured: true,
    recipients,
    date: arrival ?? headers?.date ?? context.hints.receivedAt,
  };
  return finish(report, warnings, reading);
}

function finish(report: DsnReport, warnings: WarningList, reading: PartReading): ItemReading {
  return deliver(
    report,
    {
      orgName: report.reportingMta,
      reportId: report.originalEnvelopeId,
      policyDomain: null,
      begin: report.date,
      end: report.date,
      records: report.recipients.length,
      messages: report.recipients.length,
    },
    warnings,
    reading,
  );
}

function isRecipient(group: readonly Field[]): boolean {
  return group.some(
    (f) => f.name === "final-recipient" || f.name === "original-recipient" || f.name === "action",
  );
}

function recipientOf(group: readonly Field[], warnings: WarningList): DsnRecipient {
  const get = (name: string): string | null => firstField(group, name);
  const diagnostic = get("diagnostic-code");
  const action = (get("action") ?? "").replace(/[\s(;].*$/, "").toLowerCase();
  if (!ACTIONS.has(action)) warnings.add("dsn-repaired", `Action: ${action}`);
  let status = STATUS.exec(get("status") ?? "")?.[1] ?? null;
  if (status === null) {
    warnings.add("status-missing");
    status = STATUS.exec(diagnostic ?? "")?.[1] ?? null;
  }
  const address = (name: string): string | null => {
    const value = get(name);
    return value === null
      ? null
      : afterType(value)
          .replace(/^<(.*)>$/, "$1")
          .slice(0, 320);
  };
  return {
    originalRecipient: address("original-recipient"),
    finalRecipient: address("final-recipient") ?? address("original-recipient") ?? "",
    action: ACTIONS.has(action) ? (action as DsnRecipient["action"]) : guessAction(status),
    status,
    remoteMta: get("remote-mta") === null ? null : afterType(get("remote-mta")!),
    diagnostic: diagnostic === null ? null : afterType(diagnostic).slice(0, 2000),
    lastAttempt: mailDate(get("last-attempt-date")),
    willRetryUntil: mailDate(get("will-retry-until")),
  };
}

function guessAction(status: string | null): DsnRecipient["action"] {
  if (status?.startsWith("5")) return "failed";
  if (status?.startsWith("4")) return "delayed";
  return status?.startsWith("2") ? "delivered" : "unknown";
}

function messageIdOf(returned: Buffer, { context }: PartReading): string | null {
  return firstField(readHeaderBlock(returned, 0, returned.length, context.limits).fields, "message-id");
}

// ---- bounces in prose ---------------------------------------------------------------

const BOUNCE_SENDER =
  /\b(?:mailer-daemon|postmaster|mail delivery (?:sub)?system|mdaemon|mail administrator)\b/i;
const BOUNCE_SUBJECT =
  /(?:undeliver|delivery (?:status|failure|failed|problem|error)|returned (?:mail|to sender)|mail delivery failed|failure notice|message (?:not delivered|delivery)|could not be delivered|nondeliverable|mail system error|配信|不達)/i;
const BOUNCE_TEXT =
  /(?:could(?: not|n't) be delivered|wasn't able to deliver|was(?: not|n't) delivered|undeliverable|delivery (?:has )?failed|permanent (?:fatal )?error|failed permanently|returned to sender|does not exist|user unknown|mailbox (?:full|unavailable)|unable to deliver|following (?:address|recipient)|delivery to the following)/i;

/** A bounce without a machine-readable part; undefined when the mail is none. */
export function readTextBounce(root: Part, reading: PartReading): ItemReading | undefined {
  const { headers, context, bytes } = reading;
  const from = headers?.from ?? "";
  const subject = headers?.subject ?? "";
  const nullSender = root.fields.some((f) => f.name === "return-path" && /^<\s*>$/.test(f.value));
  const body = textOf(bytes, root).slice(0, 65_536);
  const signs = [
    BOUNCE_SENDER.test(from) || nullSender,
    BOUNCE_SUBJECT.test(subject),
    BOUNCE_TEXT.test(body),
  ];
  if (signs.filter(Boolean).length < 2) return undefined;
  const warnings = new WarningList();
  warnings.add("bounce-unstructured");
  const explicit = firstField(root.fields, "x-failed-recipients");
  const recipients = guessRecipients(explicit, body).map((finalRecipient): DsnRecipient => {
    const status = STATUS.exec(body)?.[1] ?? replyStatus(body);
    return {
      originalRecipient: null,
      finalRecipient,
      action: status?.startsWith("4") ? "delayed" : "failed",
      status,
      remoteMta: null,
      diagnostic: /^[^\n]{0,200}\b[45]\d\d[ -][^\n]{0,500}/m.exec(body)?.[0]?.trim() ?? null,
      lastAttempt: null,
      willRetryUntil: null,
    };
  });
  const mta = /@([^\s<>@]{1,255})/.exec(from)?.[1]?.toLowerCase() ?? null;
  return finish(
    {
      kind: "dsn",
      reportingMta: mta,
      originalEnvelopeId: null,
      arrivalDate: null,
      originalMessageId: /^message-id:\s*(<[^\s<>]{1,500}>)/im.exec(body)?.[1] ?? null,
      structured: false,
      recipients,
      date: headers?.date ?? context.hints.receivedAt,
    },
    warnings,
    reading,
  );
}

/** The text of all text parts and returned header blocks, cut. */
function textOf(bytes: Buffer, part: Part): string {
  if (part.children.length > 0)
    return part.children
      .slice(0, 20)
      .map((c) => textOf(bytes, c))
      .join("\n");
  if (part.mediaType !== "" && !/^text\/|^message\//.test(part.mediaType)) return "";
  return bodyBytes(bytes, part, 32_768).toString("utf8");
}

function guessRecipients(explicit: string | null, body: string): string[] {
  if (explicit !== null)
    return explicit
      .split(",")
      .map((a) => a.trim())
      .filter((a) => a !== "")
      .slice(0, 100);
  const head = body.split(/^(?:-{3,}|_{3,}|received:|return-path:|from:)/im)[0] ?? body;
  const found =
    (head.length > 40 ? head : body).match(/[a-z0-9._%+=-]{1,64}@[a-z0-9.-]{1,253}\.[a-z]{2,24}/gi) ?? [];
  const others = found.filter((a) => !/^(?:postmaster|mailer-daemon)@/i.test(a));
  return [...new Set(others.map((a) => a.toLowerCase()))].slice(0, 10);
}

/** A status by the class of an SMTP reply (RFC 3463 2). */
function replyStatus(body: string): string | null {
  const code = /\b([45])\d\d[ -]/.exec(body)?.[1];
  return code === undefined ? null : `${code}.0.0`;
}
