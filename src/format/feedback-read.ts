/** Reads failure reports (RFC 9991, RFC 6591) and abuse reports (RFC 5965), and the plain forms of some programs. */
import { normalizeDomain } from "../model/domain-name.ts";
import { readIp } from "../model/ip.ts";
import { WarningList } from "../model/outcome.ts";
import type { ItemReading, MailHeaders } from "../model/reading.ts";
import type { FeedbackReport, FeedbackSample } from "../model/report.ts";
import type { ReadContext } from "./context.ts";
import { mailDate } from "./mail-headers.ts";
import { decodeWords, type Field, firstField, readHeaderBlock } from "./mime/headers.ts";
import type { Part } from "./mime/parts.ts";
import {
  afterType,
  bodyBytes,
  deliver,
  fieldGroups,
  type PartReading,
  splitList,
  text,
} from "./report-fields.ts";

/** RFC 5965 7.3, RFC 6430, RFC 6591; opt-out was registered and withdrawn. */
const TYPES = new Set([
  "abuse",
  "fraud",
  "virus",
  "other",
  "not-spam",
  "auth-failure",
  "opt-out",
  "opt-out-list",
  "miscategorized",
]);
const DELIVERY_RESULTS = new Set(["delivered", "spam", "policy", "reject", "other"]);

const SAMPLE_TYPES =
  /^(?:message\/(?:rfc822|global|rfc822-headers?|global-headers)|text\/rfc822(?:-headers?)?)$/;

/** Reads the report around a message/feedback-report part. */
export function readFeedback(feedback: Part, reading: PartReading): ItemReading {
  const { context, part, bytes } = reading;
  const warnings = new WarningList();
  const fields = fieldGroups(bodyBytes(bytes, feedback), context).flat();
  if (fields.length === 0)
    return { ok: false, kind: "arf", reason: "bad-feedback", detail: "no fields", part };
  if (feedback.encoding === "base64" || feedback.encoding === "quoted-printable")
    warnings.add("feedback-encoded");
  const sample = readSample(reading, feedback, warnings);
  return finish(buildReport(fields, sample, reading, warnings), reading, warnings);
}

/** One report object out of its fields. */
function buildReport(
  fields: readonly Field[],
  sample: FeedbackSample | null,
  { context, headers }: PartReading,
  warnings: WarningList,
): FeedbackReport {
  const get = (name: string): string | null => text(firstField(fields, name), context);
  const all = (name: string): string[] =>
    fields.filter((f) => f.name === name).flatMap((f) => splitList(f.value));
  const authFailure = get("auth-failure")?.toLowerCase() ?? null;
  const { type, raw } = feedbackType(get("feedback-type"), authFailure, warnings);
  for (const required of ["user-agent", "version"])
    if (get(required) === null) warnings.add("field-missing", required);
  const source = get("source-ip");
  const result = get("delivery-result");
  const resultWord = result?.toLowerCase() ?? null;
  if (resultWord !== null && !DELIVERY_RESULTS.has(resultWord))
    warnings.add("field-unknown-value", `Delivery-Result: ${result}`);
  const alignment = get("identity-alignment");
  return {
    kind: type === "auth-failure" ? "failure" : "arf",
    feedbackType: type,
    feedbackTypeRaw: raw,
    userAgent: get("user-agent"),
    version: get("version"),
    arrivalDate: arrival(get("arrival-date"), get("received-date"), headers, context, warnings),
    sourceIp: source === null ? null : (readIp(source)?.ip ?? source),
    sourcePort: numberOf(get("source-port")),
    incidents: numberOf(get("incidents")) ?? 1,
    reportedDomains: reportedDomains(
      all("reported-domain"),
      type === "auth-failure" ? sample : null,
      warnings,
    ),
    reportedUris: fields
      .filter((f) => f.name === "reported-uri")
      .map((f) => f.value.slice(0, context.limits.field)),
    reportingMta: get("reporting-mta") === null ? null : afterType(get("reporting-mta")!),
    originalEnvelopeId: get("original-envelope-id"),
    originalMailFrom: get("original-mail-from"),
    originalRcptTo: all("original-rcpt-to"),
    authFailure,
    identityAlignment: alignment === null ? null : splitList(alignment.toLowerCase()),
    deliveryResult:
      resultWord !== null && DELIVERY_RESULTS.has(resultWord)
        ? resultWord
        : resultWord === null
          ? null
          : "other",
    deliveryResultRaw: result,
    dkimDomain: get("dkim-domain"),
    dkimIdentity: get("dkim-identity"),
    dkimSelector: get("dkim-selector"),
    spfDns: fields.filter((f) => f.name === "spf-dns").map((f) => f.value.slice(0, context.limits.field)),
    authenticationResults: fields
      .filter((f) => f.name === "authentication-results")
      .map((f) => f.value.slice(0, context.limits.field)),
    fields: fields.map((f) => [f.name, f.value.slice(0, context.limits.field)] as const),
    sample,
  };
}

function finish(report: FeedbackReport, reading: PartReading, warnings: WarningList): ItemReading {
  return deliver(
    report,
    {
      orgName: report.userAgent ?? report.reportingMta,
      reportId: report.originalEnvelopeId,
      policyDomain: report.reportedDomains.length > 0 ? report.reportedDomains.join(",") : null,
      begin: report.arrivalDate,
      end: report.arrivalDate,
      records: report.incidents,
      messages: report.incidents,
    },
    warnings,
    reading,
  );
}

function feedbackType(
  sent: string | null,
  authFailure: string | null,
  warnings: WarningList,
): { readonly type: string; readonly raw: string | null } {
  if (sent === null) {
    warnings.add("feedback-type-missing");
    return { type: authFailure === null ? "other" : "auth-failure", raw: null };
  }
  const word = sent.toLowerCase();
  if (TYPES.has(word)) return { type: word, raw: word === sent ? null : sent };
  warnings.add("feedback-type-unknown", sent); // RFC 6650 4.4: never a reason to refuse
  return { type: "other", raw: sent };
}

function arrival(
  arrivalDate: string | null,
  receivedDate: string | null,
  headers: MailHeaders | null,
  context: ReadContext,
  warnings: WarningList,
): number {
  if (arrivalDate !== null && receivedDate !== null) warnings.add("dates-conflict");
  const own = mailDate(arrivalDate) ?? mailDate(receivedDate);
  if (own !== null) return own;
  const fallback = headers?.date ?? null;
  if (fallback === null) warnings.add("date-missing");
  return fallback ?? context.hints.receivedAt;
}

function reportedDomains(
  sent: readonly string[],
  sample: FeedbackSample | null,
  warnings: WarningList,
): string[] {
  const domains = [...new Set(sent.map((d) => normalizeDomain(d) ?? d.toLowerCase()))];
  if (domains.length > 0) return domains;
  const from = /@([^\s<>@,;]{1,255})/.exec(sample?.from ?? "")?.[1];
  const domain = from === undefined ? undefined : normalizeDomain(from);
  if (domain === undefined) return [];
  warnings.add("domain-from-sample");
  return [domain];
}

function numberOf(value: string | null): number | null {
  return value !== null && /^\d{1,9}$/.test(value.trim()) ? Number(value) : null;
}

/** The copy of the message: its header fields, and as much of its body as the limits keep (none by default). */
function readSample(reading: PartReading, feedback: Part, warnings: WarningList): FeedbackSample | null {
  const { bytes, parts, context } = reading;
  const after = parts.slice(parts.indexOf(feedback) + 1);
  const part = after.find((p) => SAMPLE_TYPES.test(p.mediaType));
  if (!part) {
    warnings.add("sample-missing");
    return null;
  }
  return sampleOf(
    bodyBytes(bytes, part, context.limits.sample_headers + context.limits.sample_body + 4096),
    context,
  );
}

function sampleOf(body: Buffer, context: ReadContext): FeedbackSample {
  const { fields, bodyStart } = readHeaderBlock(body, 0, body.length, context.limits);
  const get = (name: string): string | null => text(firstField(fields, name), context);
  const { sample_headers, sample_body } = context.limits;
  return {
    from: get("from"),
    to: get("to"),
    subject: get("subject"),
    messageId: get("message-id"),
    date: get("date"),
    headers: body.toString("utf8", 0, Math.min(bodyStart, sample_headers)),
    body: sample_body > 0 ? body.toString("utf8", bodyStart, bodyStart + sample_body) : null,
  };
}

// ---- reports in prose ------------------------------------------------------------

/**
 * Failure and abuse reports without a machine-readable part: Exim and cPanel ("A message claiming to be from you has
 * failed"), and Hotmail ("complaint about message from IP"). Undefined when the mail is neither.
 */
export function readTextFeedback(root: Part, reading: PartReading): ItemReading | undefined {
  return readClaim(root, reading) ?? readComplaint(root, reading);
}

function firstText(bytes: Buffer, part: Part): string {
  if (part.children.length > 0) {
    const child =
      part.children.find((c) => c.mediaType === "text/plain" || c.mediaType === "") ?? part.children[0]!;
    return firstText(bytes, child);
  }
  return bodyBytes(bytes, part).toString("utf8");
}

function readClaim(root: Part, reading: PartReading): ItemReading | undefined {
  const body = firstText(reading.bytes, root);
  if (!/A message claiming to be from you has failed/i.test(body.slice(0, 2000))) return undefined;
  const line = (label: string): string | null =>
    new RegExp(`^\\s{0,20}${label}:[ \\t]{0,20}([^\\r\\n]{1,500})`, "im").exec(body)?.[1]?.trim() ?? null;
  const warnings = new WarningList();
  warnings.add("no-feedback-part");
  const copy = body.search(/^-{3,}[^\n]*copy of the (?:headers|message)/im);
  const sample =
    copy < 0
      ? null
      : sampleOf(Buffer.from(body.slice(body.indexOf("\n", copy) + 1).trimStart()), reading.context);
  if (sample === null) warnings.add("sample-missing");
  const domain = line("Sender Domain");
  const failed = ["dkim", "spf"].filter((method) => line(`${method} Alignment`)?.toLowerCase() === "no");
  const fields: Field[] = [
    { name: "feedback-type", value: "auth-failure" },
    { name: "version", value: "1" },
    { name: "user-agent", value: addressDomain(reading.headers?.from ?? null) ?? "unknown" },
    { name: "auth-failure", value: "dmarc" },
    { name: "identity-alignment", value: failed.length > 0 ? failed.join(", ") : "none" },
  ];
  const add = (name: string, value: string | null): void => {
    if (value !== null) fields.push({ name, value });
  };
  add("source-ip", line("Sender IP Address"));
  add("arrival-date", line("Received date"));
  add("reported-domain", domain);
  return finish(buildReport(fields, sample, reading, warnings), reading, warnings);
}

function readComplaint(root: Part, reading: PartReading): ItemReading | undefined {
  const ip = /\bcomplaint about message from \[?([0-9a-f.:]{3,45})\]?/i.exec(
    reading.headers?.subject ?? "",
  )?.[1];
  const sample = root.children.find((child) => child.mediaType === "message/rfc822");
  if (ip === undefined || !sample) return undefined;
  const warnings = new WarningList();
  warnings.add("no-feedback-part");
  const fields: Field[] = [
    { name: "feedback-type", value: "abuse" },
    { name: "version", value: "1" },
    { name: "user-agent", value: addressDomain(reading.headers?.from ?? null) ?? "unknown" },
    { name: "source-ip", value: ip },
  ];
  const { context, bytes } = reading;
  const copy = sampleOf(bodyBytes(bytes, sample, context.limits.sample_headers + 4096), context);
  return finish(buildReport(fields, copy, reading, warnings), reading, warnings);
}

function addressDomain(from: string | null): string | null {
  const domain = /@([^\s<>@,;]{1,255})/.exec(decodeWords(from ?? ""))?.[1];
  return domain === undefined ? null : (normalizeDomain(domain) ?? null);
}
