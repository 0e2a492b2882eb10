/** Parses failure reports (RFC 9991, RFC 6591) and abuse reports (RFC 5965), and the text forms of some programs. */
import { normalizeDomain } from "../../model/domain-name.ts";
import { readIp } from "../../model/ip.ts";
import { WarningList } from "../../model/outcome.ts";
import type { ItemReading, MailHeaders } from "../../model/reading.ts";
import type { FeedbackReport, FeedbackSample } from "../../model/report.ts";
import type { ReadContext } from "../context.ts";
import { mailDate } from "../mail/headers.ts";
import { type Field, firstField } from "../mail/mime/headers.ts";
import type { Part } from "../mail/mime/parts.ts";
import {
  afterType,
  bodyBytes,
  deliver,
  fieldGroups,
  firstText,
  headerOf,
  isReturned,
  type PartReading,
  refusing,
  splitList,
  text,
} from "./fields.ts";

/** RFC 5965 7.3, RFC 6430, RFC 6591; opt-out and opt-out-list are of the drafts and still sent. */
const TYPES = new Set([
  "abuse",
  "fraud",
  "virus",
  "other",
  "not-spam",
  "auth-failure",
  "opt-out",
  "opt-out-list",
]);
const DELIVERY_RESULTS = new Set(["delivered", "spam", "policy", "reject", "other"]);

/** Parses the report that a message/feedback-report part belongs to. */
export function readFeedback(feedback: Part, reading: PartReading): ItemReading {
  return refusing("arf", reading.part, () => {
    const { context, part, bytes } = reading;
    const warnings = new WarningList();
    const fields = fieldGroups(bodyBytes(bytes, feedback), context).flat();
    if (fields.length === 0)
      return { ok: false, kind: "arf", reason: "bad-feedback", detail: "no fields", part };
    if (feedback.encoding !== "none") warnings.add("feedback-encoded");
    const sample = readSample(reading, feedback, warnings);
    return finish(buildReport(fields, sample, reading, warnings), reading, warnings);
  });
}

/** Makes a report object from its fields. */
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
    [report.kind, report.fields, report.sample],
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
  const part = parts.slice(parts.indexOf(feedback) + 1).find(isReturned);
  if (!part) {
    warnings.add("sample-missing");
    return null;
  }
  const { sample_headers, sample_body } = context.limits;
  return sampleOf(bodyBytes(bytes, part, sample_headers + sample_body + 4096), context);
}

function sampleOf(body: Buffer, context: ReadContext): FeedbackSample {
  const { fields, bodyStart } = headerOf(body);
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

/** Bytes of prose that are searched. */
const PROSE = 16_384;

/**
 * Failure and abuse reports without a machine-readable part: Exim and cPanel ("A message claiming to be from you has
 * failed"), Netease and the example of RFC 5965 ("… report for an email message received from IP …"), and Hotmail
 * ("complaint about message from IP"). Undefined when the mail is none of these.
 */
export function readTextFeedback(root: Part, reading: PartReading): ItemReading | undefined {
  const ip = /\bcomplaint about message from \[?([0-9a-f.:]{3,45})\]?/i.exec(
    reading.headers?.subject ?? "",
  )?.[1];
  if (ip !== undefined)
    return readProse(
      root,
      reading,
      [
        ["feedback-type", "abuse"],
        ["source-ip", ip],
      ],
      "",
    );
  const part = firstText(root);
  if (!part) return undefined;
  const prose = bodyBytes(reading.bytes, part, PROSE).toString("utf8");
  const fields = claimFields(prose) ?? sentenceFields(prose);
  return fields && readProse(root, reading, fields, prose);
}

type FieldPair = readonly [name: string, value: string];

/** Exim, cPanel, Baruwa: `Sender Domain:`, `Sender IP Address:`, `Received Date:`, `SPF Alignment: no`. */
function claimFields(prose: string): FieldPair[] | undefined {
  if (!/A message claiming to be from you has failed/i.test(prose.slice(0, 2000))) return undefined;
  const line = (label: string): string | undefined =>
    new RegExp(`^\\s{0,20}${label}:[ \\t]{0,20}([^\\r\\n]{1,500})`, "im").exec(prose)?.[1]?.trim();
  const failed = ["dkim", "spf"].filter((method) => line(`${method} Alignment`)?.toLowerCase() === "no");
  const pairs: [string, string | undefined][] = [
    ["feedback-type", "auth-failure"],
    ["auth-failure", "dmarc"],
    ["identity-alignment", failed.length > 0 ? failed.join(", ") : "none"],
    ["source-ip", line("Sender IP Address")],
    ["arrival-date", line("Received date")],
    ["reported-domain", line("Sender Domain")],
  ];
  return pairs.filter((pair): pair is [string, string] => pair[1] !== undefined);
}

/** "This is an email abuse report for an email message received from IP 192.0.2.1 on Thu, 8 Mar 2005 …" */
function sentenceFields(prose: string): FieldPair[] | undefined {
  const match =
    /\bThis is an? ([\w/ -]{1,60}) report for an email message\s{1,4}(?:with [^\n]{1,200}\s)?received\s{1,4}from\s{1,4}IP\s{1,4}(?:address\s)?\[?([0-9a-f.:]{3,45}?)\]?\.?\s{1,4}(?:on\s{1,4}([^\r\n]{10,60}))?/i.exec(
      prose.slice(0, 4000),
    );
  if (!match) return undefined;
  const failure = /authentication[ -]failure/i.test(match[1]!);
  const pairs: [string, string][] = failure
    ? [
        ["feedback-type", "auth-failure"],
        ["auth-failure", "dmarc"],
      ]
    : [["feedback-type", /abuse/i.test(match[1]!) ? "abuse" : "other"]];
  pairs.push(["source-ip", match[2]!]);
  if (match[3] !== undefined) pairs.push(["arrival-date", match[3].replace(/\.$/, "")]);
  return pairs;
}

/** A report of fields found in prose. The copy of the message is a part of its own or stands below a line of dashes. */
function readProse(
  root: Part,
  reading: PartReading,
  found: readonly FieldPair[],
  prose: string,
): ItemReading | undefined {
  const { context, bytes, headers } = reading;
  const warnings = new WarningList();
  warnings.add("no-feedback-part");
  const part = root.children.find(isReturned);
  const below =
    /^-{3,}[^\n]*copy of the (?:headers|message)[^\n]*\n(?:[^\n]*was detected\.[^\n]*\n)?\s*/im.exec(prose);
  if (!part && !below && prose === "") return undefined; // a Subject alone is not a report
  const sample = part
    ? sampleOf(
        bodyBytes(bytes, part, context.limits.sample_headers + context.limits.sample_body + 4096),
        context,
      )
    : below
      ? sampleOf(Buffer.from(prose.slice(below.index + below[0].length)), context)
      : null;
  if (sample === null) warnings.add("sample-missing");
  const pairs: FieldPair[] = [
    ["version", "1"],
    ["user-agent", addressDomain(headers?.from ?? null) ?? "unknown"],
    ...found,
  ];
  const fields: Field[] = pairs.map(([name, value]) => ({ name, value }));
  return finish(buildReport(fields, sample, reading, warnings), reading, warnings);
}

function addressDomain(from: string | null): string | null {
  const domain = /@([^\s<>@,;]{1,255})/.exec(from ?? "")?.[1];
  return domain === undefined ? null : (normalizeDomain(domain) ?? null);
}
