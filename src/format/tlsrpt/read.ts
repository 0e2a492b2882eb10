/** Parses SMTP TLS reports (RFC 8460 4.4), with tolerance for the deviations of real reporters. */

import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { TextDecoder } from "node:util";
import { normalizeDomain } from "../../model/domain-name.ts";
import { TLS_RESULT_TYPES } from "../../model/evaluation.ts";
import { normalizeIp, readIp } from "../../model/ip.ts";
import { joinWarnings, WarningList } from "../../model/outcome.ts";
import type { ItemReading, PartInfo, ReportSink } from "../../model/reading.ts";
import type { ReportFigures, TlsFailureDetail, TlsHead, TlsPolicyResult } from "../../model/report.ts";
import { type ReadContext, ReadStop } from "../context.ts";
import { checkRange, readReportId } from "../dmarc/head.ts";
import { epochOf } from "../dmarc/values.ts";
import { scanJson } from "./json-scan.ts";

type Json = Readonly<Record<string, unknown>>;

/** Names of older programs beside the RFC's (RFC 8460 4.4, erratum 6241). */
const ALIASES: Readonly<Record<string, readonly string[]>> = {
  "mx-host": ["mx-host", "mx-host-pattern"],
  "additional-information": ["additional-information", "additional-info-uri"],
};
const POLICY_TYPES = new Set(["sts", "tlsa", "no-policy-found"]);
const RESULT_TYPES: ReadonlySet<string> = new Set(TLS_RESULT_TYPES);

/** JSON values of a report, of each of its policies and details: far more than real ones have. */
const BASE_VALUES = 10_000;
const POLICY_VALUES = 250;
const DETAIL_VALUES = 20;
/** Strings of one list (mx-host, policy-string). */
const MOST_STRINGS = 100;

/** Parses one report into `sink`. Does not throw for any input; the reason of a refusal is in the result. */
export function readTls(
  bytes: Uint8Array,
  context: ReadContext,
  sink: ReportSink,
  part: PartInfo,
): ItemReading {
  try {
    return new TlsReader(context, sink, part).read(bytes);
  } catch (error) {
    if (!(error instanceof ReadStop)) throw error;
    return { ok: false, kind: "tls", reason: error.reason, detail: error.detail, part };
  }
}

class TlsReader {
  readonly #context: ReadContext;
  readonly #sink: ReportSink;
  readonly #part: PartInfo;
  readonly #warnings = new WarningList();
  #detailsLeft: number;

  constructor(context: ReadContext, sink: ReportSink, part: PartInfo) {
    this.#context = context;
    this.#sink = sink;
    this.#part = part;
    this.#detailsLeft = context.limits.tls_details;
  }

  read(bytes: Uint8Array): ItemReading {
    const { limits } = this.#context;
    if (bytes.length > limits.json_size) throw new ReadStop("too-large", `${bytes.length} bytes of JSON`);
    if (bytes.length === 0) throw new ReadStop("empty");
    const report = this.#parse(bytes);
    const policies = this.#list(report.policies, "policies", limits.tls_policies).map((item, i) =>
      this.#policy(item, `policies[${i}]`),
    );
    if (policies.length === 0) this.#warnings.add("no-policies");
    const { head, contentHash } = this.#identified(this.#head(report), policies);
    const sum = (of: (p: TlsPolicyResult) => number): number =>
      policies.reduce((total, p) => total + of(p), 0);
    const messages = sum((p) => p.successes + p.failures);
    if (!Number.isSafeInteger(messages)) throw new ReadStop("bad-count", "the sum of sessions");
    const figures: ReportFigures = {
      kind: "tls",
      orgName: head.orgName,
      reportId: head.reportId,
      policyDomain: [...new Set(policies.flatMap((p) => p.policyDomain ?? []))].join(",") || null,
      begin: head.begin,
      end: head.end,
      records: policies.length,
      messages,
      passMessages: sum((p) => p.successes),
      droppedRecords: 0,
      warnings: joinWarnings(this.#context.carried, this.#warnings),
    };
    const writer = this.#sink.open(head, this.#part);
    for (const policy of policies) writer.policy(policy);
    writer.close(figures, contentHash);
    return { ok: true, figures, part: this.#part };
  }

  #parse(bytes: Uint8Array): Json {
    const { limits } = this.#context;
    const text = this.#decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    const values = BASE_VALUES + limits.tls_policies * POLICY_VALUES + limits.tls_details * DETAIL_VALUES;
    scanJson(text, { depth: limits.json_depth, values }, this.#warnings);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new ReadStop("bad-json", error instanceof Error ? error.message.slice(0, 200) : null);
    }
    if (!isObject(value)) throw new ReadStop("bad-json", "not an object");
    if (!Object.hasOwn(value, "policies") && !Object.hasOwn(value, "organization-name")) {
      throw new ReadStop("bad-json", "neither policies nor organization-name");
    }
    return value;
  }

  /** RFC 8259 8.1 wants UTF-8 without a byte order mark. */
  #decode(bytes: Buffer): string {
    if (isUtf8(bytes)) return bytes.toString("utf8").replace(/^\ufeff/, "");
    const [a, b] = bytes;
    const utf16 = a === 0xff && b === 0xfe ? "utf-16le" : a === 0xfe && b === 0xff ? "utf-16be" : null;
    this.#warnings.add("encoding-repaired", utf16 ?? "not UTF-8");
    return new TextDecoder(utf16 ?? "windows-1252").decode(bytes);
  }

  #head(report: Json): TlsHead {
    const contact = this.#contact(report["contact-info"]);
    return {
      kind: "tls",
      orgName: this.#organisation(this.#text(report["organization-name"], "organization-name"), contact),
      email: contact,
      ...readReportId(this.#text(report["report-id"], "report-id"), this.#context, this.#warnings),
      ...this.#range(report["date-range"]),
    };
  }

  /** The hash of the normalised content, which is also the id of a report without one. */
  #identified(
    head: TlsHead,
    policies: readonly TlsPolicyResult[],
  ): { readonly head: TlsHead; readonly contentHash: string } {
    const identity = JSON.stringify([
      { ...head, orgName: head.orgName.toLowerCase(), reportIdRaw: null },
      policies,
    ]);
    const contentHash = createHash("sha256").update(identity).digest("hex");
    return {
      head: head.reportId === "" ? { ...head, reportId: `sha256:${contentHash}` } : head,
      contentHash,
    };
  }

  #organisation(name: string | null, contact: string | null): string {
    if (name !== null && name.trim() !== "") return name.trim();
    this.#warnings.add("org-missing");
    const domain = contact?.includes("@") ? contact.slice(contact.lastIndexOf("@") + 1) : null;
    const { tlsReportSubmitter, subjectSubmitter, nameReceiver } = this.#context.around();
    return domain ?? tlsReportSubmitter ?? subjectSubmitter ?? nameReceiver ?? "";
  }

  #contact(value: unknown): string | null {
    if (value === undefined || value === null) {
      this.#warnings.add("contact-missing");
      return null;
    }
    if (Array.isArray(value) || typeof value !== "string") {
      this.#warnings.add("contact-format");
      const first = Array.isArray(value) ? value[0] : null;
      return typeof first === "string" ? this.#short(first) : null;
    }
    const bare = value.trim().replace(/^mailto:/i, "");
    return bare === "" ? null : this.#short(bare);
  }

  #range(value: unknown): { readonly begin: number; readonly end: number } {
    const range = isObject(value) ? value : {};
    return checkRange(
      this.#date(range["start-datetime"]),
      this.#date(range["end-datetime"]),
      this.#context,
      this.#warnings,
    );
  }

  /** RFC 3339; without a zone it is UTC (Microsoft). Fractions are cut. */
  #date(value: unknown): number | undefined {
    if (typeof value === "number") {
      this.#warnings.add("date-format", String(value));
      return epochOf(String(value), this.#warnings);
    }
    if (typeof value !== "string" || value.length > 40) return undefined;
    const match =
      /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d{1,9})?)?\s*(z|[+-]\d\d:?\d\d)?$/i.exec(
        value.trim(),
      );
    if (!match) return undefined;
    if (match[3] === undefined) this.#warnings.add("date-no-zone");
    const zone = match[3] === undefined ? "Z" : match[3].replace(/^([+-]\d\d)(\d\d)$/, "$1:$2");
    const ms = Date.parse(`${match[1]}T${match[2] ?? "00:00:00"}${zone}`);
    return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
  }

  #policy(item: unknown, at: string): TlsPolicyResult {
    if (!isObject(item)) throw new ReadStop("bad-json", `${at} is not an object`);
    const policy = isObject(item.policy) ? item.policy : {};
    const summary = isObject(item.summary) ? item.summary : undefined;
    const details = this.#details(item["failure-details"], at);
    const inDetails = details.reduce((sum, d) => sum + d.failedSessions, 0);
    const successes = this.#count(summary?.["total-successful-session-count"], `${at}.summary`, 0);
    const failures = this.#count(summary?.["total-failure-session-count"], `${at}.summary`, inDetails);
    if (!summary) this.#warnings.add("summary-missing");
    if (details.length > 0 && inDetails !== failures)
      this.#warnings.add("sum-differs", `${inDetails} and ${failures}`);
    const typeSent = this.#text(policy["policy-type"], "policy-type") ?? "";
    const type = typeSent.trim().toLowerCase();
    if (!POLICY_TYPES.has(type)) this.#warnings.add("policy-type-unknown", typeSent);
    return {
      policyType: POLICY_TYPES.has(type) ? (type as TlsPolicyResult["policyType"]) : "unknown",
      policyTypeRaw: typeSent === type && POLICY_TYPES.has(type) ? null : typeSent,
      policyStrings: this.#strings(policy["policy-string"], "policy-string"),
      policyDomain: this.#policyDomain(policy["policy-domain"]),
      mxHosts: this.#strings(this.#aliased(policy, "mx-host"), "mx-host"),
      successes,
      failures,
      details,
    };
  }

  #policyDomain(value: unknown): string | null {
    const sent = this.#text(Array.isArray(value) ? value[0] : value, "policy-domain");
    if (Array.isArray(value)) this.#warnings.add("json-shape", "policy-domain");
    if (sent !== null && sent.trim() !== "") {
      const domain = normalizeDomain(sent) ?? sent.trim().toLowerCase();
      if (domain !== sent) this.#warnings.add("domain-repaired", sent);
      return domain;
    }
    this.#warnings.add("policy-domain-missing");
    const { tlsReportDomain, subjectDomain, nameDomain } = this.#context.around();
    const found = tlsReportDomain ?? subjectDomain ?? nameDomain;
    return found === null ? null : (normalizeDomain(found) ?? null);
  }

  #details(value: unknown, at: string): TlsFailureDetail[] {
    if (value === undefined || value === null) return [];
    let list = value;
    if (isObject(value)) {
      this.#warnings.add("json-shape", "failure-details");
      list = [value];
    }
    const items = this.#list(list, `${at}.failure-details`, this.#detailsLeft);
    this.#detailsLeft -= items.length;
    return items.map((item, i) => this.#detail(item, `${at}.failure-details[${i}]`));
  }

  #detail(item: unknown, at: string): TlsFailureDetail {
    if (!isObject(item)) throw new ReadStop("bad-json", `${at} is not an object`);
    const sent = this.#text(item["result-type"], "result-type") ?? "";
    const type = sent.trim().toLowerCase();
    if (!RESULT_TYPES.has(type)) this.#warnings.add("result-type-unknown", sent);
    return {
      resultType: RESULT_TYPES.has(type) ? type : sent,
      sendingMtaIp: this.#ip(item["sending-mta-ip"]),
      receivingMxHostname: this.#host(item["receiving-mx-hostname"]),
      receivingMxHelo: this.#text(item["receiving-mx-helo"], "receiving-mx-helo"),
      receivingIp: this.#ip(item["receiving-ip"]),
      failedSessions: this.#count(item["failed-session-count"], at, 0),
      additionalInformation: this.#text(
        this.#aliased(item, "additional-information"),
        "additional-information",
      ),
      failureReasonCode: this.#text(item["failure-reason-code"], "failure-reason-code"),
    };
  }

  /** Canonical form; a value that is not an address is kept as sent. */
  #ip(value: unknown): string | null {
    const sent = this.#text(value, "ip");
    if (sent === null || sent === "") return null;
    const plain = normalizeIp(sent);
    if (plain !== undefined && isIP(plain) === isIP(sent)) return plain;
    this.#warnings.add("ip-repaired", sent);
    return plain ?? readIp(sent)?.ip ?? sent;
  }

  #host(value: unknown): string | null {
    const sent = this.#text(value, "host");
    return sent === null ? null : (normalizeDomain(sent) ?? sent);
  }

  #aliased(object: Json, name: string): unknown {
    for (const key of ALIASES[name]!) {
      if (!Object.hasOwn(object, key)) continue;
      if (key !== name) this.#warnings.add("key-alias", key);
      return object[key];
    }
    return undefined;
  }

  /** A whole number; text of digits is repaired; absent is `fallback`. */
  #count(value: unknown, at: string, fallback: number): number {
    if (value === undefined || value === null) return fallback;
    let n = value;
    if (typeof value === "string" && /^\s*\d{1,16}\s*$/.test(value)) {
      this.#warnings.add("count-format", value);
      n = Number(value);
    }
    if (typeof n !== "number" || !Number.isSafeInteger(n) || n < 0) {
      throw new ReadStop("bad-count", `${at}: ${JSON.stringify(value)?.slice(0, 40) ?? "?"}`);
    }
    return n;
  }

  #list(value: unknown, at: string, most: number): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw new ReadStop("bad-json", `${at} is not a list`);
    if (value.length > most) throw new ReadStop("too-many-records", `${at}: ${value.length}`);
    return value;
  }

  #strings(value: unknown, at: string): string[] {
    if (value === undefined || value === null) return [];
    if (typeof value === "string") {
      // the example in RFC 8460 has mx-host in this form (erratum 6241)
      if (at !== "mx-host") this.#warnings.add("json-shape", at);
      return value === "" ? [] : [this.#short(value)];
    }
    if (!Array.isArray(value)) {
      this.#warnings.add("json-shape", at);
      return [];
    }
    if (value.length > MOST_STRINGS) this.#warnings.add("field-cut", at);
    return value
      .slice(0, MOST_STRINGS)
      .filter((item): item is string => typeof item === "string")
      .map((item) => this.#short(item));
  }

  #text(value: unknown, at: string): string | null {
    if (value === undefined || value === null) return null;
    if (typeof value === "string") return this.#short(value);
    this.#warnings.add("json-shape", at);
    return typeof value === "number" || typeof value === "boolean" ? String(value) : null;
  }

  #short(text: string): string {
    const most = this.#context.limits.field;
    if (text.length <= most) return text;
    this.#warnings.add("field-cut");
    return text.slice(0, most);
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
