/** Parses delivery status notifications (RFC 3464, RFC 6533), and bounces in prose as well as it can be done. */
import { WarningList } from "../../model/outcome.ts";
import type { ItemReading } from "../../model/reading.ts";
import type { DsnRecipient, DsnReport } from "../../model/report.ts";
import { isAutoReply, mailDate } from "../mail/headers.ts";
import { type Field, firstField, unicode } from "../mail/mime/headers.ts";
import type { Part } from "../mail/mime/parts.ts";
import {
  afterType,
  bodyBytes,
  deliver,
  fieldGroups,
  headerOf,
  isReturned,
  type PartReading,
  refusing,
} from "./fields.ts";

const ACTIONS = new Set(["failed", "delayed", "delivered", "relayed", "expanded"]);
const STATUS = /\b([245]\.\d{1,3}\.\d{1,3})\b/;
const LONGEST_ADDRESS = 320;
const LONGEST_DIAGNOSTIC = 2000;
const MOST_RECIPIENTS = 1000;

/** Parses the notification that a delivery-status part belongs to. */
export function readDsn(status: Part, reading: PartReading): ItemReading {
  return refusing("dsn", reading.part, () => {
    const { bytes, context, part, headers, parts } = reading;
    const warnings = new WarningList();
    const groups = fieldGroups(bodyBytes(bytes, status), context);
    const recipients = recipientsOf(groups, warnings);
    if (recipients.length === 0)
      return { ok: false, kind: "dsn", reason: "bad-dsn", detail: "no recipient", part };
    const returned = parts.find(isReturned);
    const { fields } = headerOf(returned ? bodyBytes(bytes, returned, 65_536) : Buffer.alloc(0));
    const message = perMessage(groups);
    const report: DsnReport = {
      kind: "dsn",
      ...message,
      originalMessageId: firstField(fields, "message-id"),
      structured: true,
      recipients,
      date: message.arrivalDate ?? headers?.date ?? context.hints.receivedAt,
    };
    return finish(report, warnings, reading);
  });
}

function finish(report: DsnReport, warnings: WarningList, reading: PartReading): ItemReading {
  return deliver(
    report,
    { ...report, date: report.arrivalDate ?? reading.headers?.date },
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

// ---- fields (RFC 3464 2.2, 2.3) -------------------------------------------------------

function perMessage(
  groups: readonly (readonly Field[])[],
): Pick<DsnReport, "reportingMta" | "originalEnvelopeId" | "arrivalDate"> {
  const group = groups.find((g) => !isRecipient(g)) ?? groups[0] ?? [];
  const mta = firstField(group, "reporting-mta");
  return {
    reportingMta: mta === null ? null : unicode(afterType(mta)) || null,
    originalEnvelopeId: firstField(group, "original-envelope-id"),
    arrivalDate: mailDate(firstField(group, "arrival-date")),
  };
}

function isRecipient(group: readonly Field[]): boolean {
  return group.some(
    (f) => f.name === "final-recipient" || f.name === "original-recipient" || f.name === "action",
  );
}

function recipientsOf(groups: readonly (readonly Field[])[], warnings: WarningList): DsnRecipient[] {
  return groups
    .filter(isRecipient)
    .slice(0, MOST_RECIPIENTS)
    .map((group) => recipientOf(group, warnings));
}

function recipientOf(group: readonly Field[], warnings: WarningList): DsnRecipient {
  const get = (name: string): string | null => firstField(group, name);
  const diagnostic = get("diagnostic-code");
  const remote = get("remote-mta");
  let status = STATUS.exec(get("status") ?? "")?.[1] ?? null;
  if (status === null) {
    warnings.add("status-missing");
    status = STATUS.exec(diagnostic ?? "")?.[1] ?? replyStatus(diagnostic ?? "");
  }
  return {
    originalRecipient: address(get("original-recipient")),
    finalRecipient: address(get("final-recipient")) ?? address(get("original-recipient")) ?? "",
    action: actionOf(get("action"), status, warnings),
    status,
    remoteMta: remote === null ? null : unicode(afterType(remote)),
    diagnostic: diagnostic === null ? null : unicode(afterType(diagnostic)).slice(0, LONGEST_DIAGNOSTIC),
    lastAttempt: mailDate(get("last-attempt-date")),
    willRetryUntil: mailDate(get("will-retry-until")),
  };
}

/** `rfc822; <a@b>`; `utf-8; \x{540D}@b` in the notation of RFC 6533 3. */
function address(field: string | null): string | null {
  if (field === null) return null;
  return unicode(afterType(field))
    .replace(/^<(.*)>$/, "$1")
    .replace(/\\x\{([0-9a-f]{2,6})\}/gi, (whole, hex: string) => character(hex) ?? whole)
    .slice(0, LONGEST_ADDRESS);
}

function character(hex: string): string | undefined {
  const code = Number.parseInt(hex, 16);
  return code >= 0x20 && code <= 0x10ffff ? String.fromCodePoint(code) : undefined;
}

/** The action, in any case and with comments; without one, by the class of the status. */
function actionOf(
  field: string | null,
  status: string | null,
  warnings: WarningList,
): DsnRecipient["action"] {
  const word = (field ?? "").replace(/[\s(;].*$/, "").toLowerCase();
  if (ACTIONS.has(word)) return word as DsnRecipient["action"];
  const guess = status === null ? "unknown" : (BY_CLASS[status[0]!] ?? "unknown");
  // sendmail's address test says "deliverable" with 2.1.5
  if (guess !== "delivered") warnings.add("dsn-repaired", `Action: ${field ?? "missing"}`);
  return guess;
}

const BY_CLASS: Readonly<Record<string, DsnRecipient["action"]>> = {
  "2": "delivered",
  "4": "delayed",
  "5": "failed",
};

/** A status by the class of an SMTP reply (RFC 3463 2). */
function replyStatus(text: string): string | null {
  const code = /\b([45])\d\d[ -]/.exec(text)?.[1];
  return code === undefined ? null : `${code}.0.0`;
}

// ---- bounces in prose ---------------------------------------------------------------

const BOUNCE_SENDER =
  /\b(?:mailer-daemon|postmaster|mail delivery (?:sub)?system|mdaemon|mail administrator)\b/i;
const BOUNCE_SUBJECT =
  /(?:undeliver|delivery (?:status|failure|failed|problem|error)|returned (?:mail|to sender)|mail delivery failed|failure notice|message (?:not delivered|delivery)|could not be delivered|nondeliverable|mail system error|配信|不達)/i;
const BOUNCE_TEXT =
  /(?:could(?: not|n't) be delivered|wasn't able to deliver|was(?: not|n't) delivered|undeliverable|delivery (?:has )?failed|permanent (?:fatal )?error|failed permanently|returned to sender|does not exist|user unknown|mailbox (?:full|unavailable)|unable to deliver|following (?:address|recipient)|delivery to the following)/i;
/** Where the returned message begins, or what is quoted of it. */
const COPY_BELOW = /^(?:-{3,}|_{3,}|\s{0,8}below this line|received:|return-path:|from:)/im;
const TEXT_LOOKED_AT = 65_536;

/** A mail whose sender and subject are those of a bounce. */
export function isBounce(root: Part, { headers }: PartReading): boolean {
  return bySystem(root, headers?.from ?? "") && BOUNCE_SUBJECT.test(headers?.subject ?? "");
}

function bySystem(root: Part, from: string): boolean {
  return (
    BOUNCE_SENDER.test(from) || root.fields.some((f) => f.name === "return-path" && /^<\s*>$/.test(f.value))
  );
}

/** A bounce without a machine-readable part; undefined when less than two of sender, subject and text are those of a bounce. */
export function readTextBounce(root: Part, reading: PartReading): ItemReading | undefined {
  const from = reading.headers?.from ?? "";
  const subject = reading.headers?.subject ?? "";
  const system = bySystem(root, from);
  if (isAutoReply(root.fields) && !system) return undefined;
  const body = textOf(reading.bytes, root).slice(0, TEXT_LOOKED_AT);
  const signs = [system, BOUNCE_SUBJECT.test(subject), BOUNCE_TEXT.test(body)];
  if (signs.filter(Boolean).length < 2) return undefined;
  const item = refusing("dsn", reading.part, () => guessed(root, body, reading));
  // without a recipient it is a bounce only by sender and subject
  return item.ok || isBounce(root, reading) ? item : undefined;
}

function guessed(root: Part, body: string, reading: PartReading): ItemReading {
  const { headers, context } = reading;
  const warnings = new WarningList();
  warnings.add("bounce-unstructured");
  // some have all the fields, but in a part of another type or behind a damaged boundary
  const fields = body.search(/^(?:reporting-mta|final-recipient):/im);
  const groups = fields < 0 ? [] : fieldGroups(Buffer.from(body.slice(fields), "latin1"), context);
  const message = perMessage(groups);
  const inFields = recipientsOf(groups, warnings);
  const report: DsnReport = {
    kind: "dsn",
    ...message,
    reportingMta:
      message.reportingMta ?? /@([^\s<>@]{1,255})/.exec(headers?.from ?? "")?.[1]?.toLowerCase() ?? null,
    originalMessageId: /^message-id:\s{0,20}(<[^\s<>]{1,500}>)/im.exec(body)?.[1] ?? null,
    structured: false,
    recipients:
      inFields.length > 0 ? inFields : recipientsIn(body, firstField(root.fields, "x-failed-recipients")),
    date: message.arrivalDate ?? headers?.date ?? context.hints.receivedAt,
  };
  if (report.recipients.length > 0) return finish(report, warnings, reading);
  return { ok: false, kind: "dsn", reason: "bad-dsn", detail: "no recipient", part: reading.part };
}

/** The text of all text parts and returned header blocks, cut; bytes as characters. */
function textOf(bytes: Buffer, part: Part): string {
  if (part.children.length > 0)
    return part.children
      .slice(0, 20)
      .map((c) => textOf(bytes, c))
      .join("\n");
  if (part.mediaType !== "" && !/^(?:text|message|multipart)\//.test(part.mediaType)) return "";
  return bodyBytes(bytes, part, TEXT_LOOKED_AT / 2).toString("latin1");
}

/** Addresses named before the returned message, each with what is said behind it. */
function recipientsIn(body: string, explicit: string | null): DsnRecipient[] {
  const cut = body.search(COPY_BELOW);
  const head = cut > 40 ? body.slice(0, cut) : body;
  const named = explicit === null ? addressesIn(head) : listed(explicit);
  const places = named.map((name) => head.toLowerCase().indexOf(name));
  return named.map((finalRecipient, i) => {
    const from = places[i]!;
    const to = Math.min(...places.filter((place) => place > from), from + 1000);
    const said = from < 0 ? head : head.slice(from, to);
    const status = STATUS.exec(said)?.[1] ?? replyStatus(said) ?? STATUS.exec(head)?.[1] ?? replyStatus(head);
    return {
      originalRecipient: null,
      finalRecipient,
      action: status?.startsWith("4") ? "delayed" : "failed",
      status,
      remoteMta: null,
      diagnostic: replyLine(said) ?? replyLine(head),
      lastAttempt: null,
      willRetryUntil: null,
    };
  });
}

function replyLine(text: string): string | null {
  return /^[^\n]{0,200}\b[45]\d\d[ -][^\n]{0,500}/m.exec(text)?.[0]?.trim() ?? null;
}

function listed(explicit: string): string[] {
  const names = explicit.split(",").map((name) => name.trim().toLowerCase());
  return names.filter((name) => name !== "").slice(0, 100);
}

function addressesIn(text: string): string[] {
  const found = text.match(/[a-z0-9._%+=-]{1,64}@[a-z0-9.-]{1,253}\.[a-z]{2,24}/gi) ?? [];
  const others = found.filter((name) => !/^(?:postmaster|mailer-daemon)@/i.test(name));
  return [...new Set(others.map((name) => name.toLowerCase()))].slice(0, 10);
}
