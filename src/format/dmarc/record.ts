/** One record of a DMARC report: collects its fields and makes the record of them. */
import { readIp } from "../../model/ip.ts";
import type { WarningList } from "../../model/outcome.ts";
import type {
  AuthResultWord,
  DkimAuthResult,
  DmarcRecord,
  OverrideReason,
  SpfAuthResult,
} from "../../model/report.ts";
import { FIELDS, FIRST_OF_PART, field } from "./elements.ts";
import { authResult, disposition, evaluated, identifier, reasonType, recordCount } from "./values.ts";

/** Results and reasons of one record above this number are dropped: no real mail has that many signatures. */
const MOST_RESULTS = 1000;

const SOURCE_IP = field("source_ip");
const COUNT = field("count");
const DISPOSITION = field("disposition");
const EVAL_DKIM = field("eval_dkim");
const EVAL_SPF = field("eval_spf");
const HEADER_FROM = field("header_from");
const ENVELOPE_FROM = field("envelope_from");
const ENVELOPE_TO = field("envelope_to");
const REASON_TYPE = field("reason_type");
const REASON_COMMENT = field("reason_comment");
const AUTH_DOMAIN = field("auth_domain");
const AUTH_SELECTOR = field("auth_selector");
const AUTH_RESULT = field("auth_result");
const AUTH_HUMAN = field("auth_human");
const AUTH_SCOPE = field("auth_scope");

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Collects one record; cleared and used again for the next one. */
export class RecordBuilder {
  readonly #warnings: WarningList;
  /** By field number; null where the element was not there. */
  readonly #values = new Array<string | null>(FIELDS.length + 1).fill(null);
  sawEvaluated = false;
  sawAuth = false;
  /** `lang` of the comment of the reason that is open. */
  commentLang: string | null = null;
  #reasons: OverrideReason[] = [];
  #dkimResults: DkimAuthResult[] = [];
  #spfResults: SpfAuthResult[] = [];
  /** Elements of other namespaces at the end of the record, as XML. */
  extensions = "";

  constructor(warnings: WarningList) {
    this.#warnings = warnings;
  }

  clear(): void {
    this.#values.fill(null);
    this.sawEvaluated = this.sawAuth = false;
    this.commentLang = null;
    this.#reasons = [];
    this.#dkimResults = [];
    this.#spfResults = [];
    this.extensions = "";
  }

  set(fieldNumber: number, value: string): void {
    this.#values[fieldNumber] = value;
  }

  /** A `<dkim>`, `<spf>` or `<reason>` begins. */
  beginPart(): void {
    for (let i = FIRST_OF_PART; i < this.#values.length; i++) this.#values[i] = null;
    this.commentLang = null;
  }

  endDkim(): void {
    const selector = this.#values[AUTH_SELECTOR]!;
    if (this.#saysNothing && selector === null) return;
    if (this.#dkimResults.length >= MOST_RESULTS) return;
    const result: Mutable<DkimAuthResult> = { domain: null, selector: selector || null, result: "none" };
    this.#finish(result);
    this.#dkimResults.push(result);
  }

  endSpf(): void {
    if (this.#saysNothing || this.#spfResults.length >= MOST_RESULTS) return;
    const word = this.#values[AUTH_SCOPE]?.toLowerCase();
    const scope = word === "mfrom" || word === "helo" ? word : null;
    const result: Mutable<SpfAuthResult> = { domain: null, scope, result: "none" };
    this.#finish(result);
    this.#spfResults.push(result);
  }

  /** `<dkim/>` means that there was no signature. */
  get #saysNothing(): boolean {
    return this.#values[AUTH_DOMAIN] === null && this.#values[AUTH_RESULT] === null;
  }

  /** What DKIM and SPF results have in common. */
  #finish(result: Mutable<DkimAuthResult> | Mutable<SpfAuthResult>): void {
    const domain = this.#values[AUTH_DOMAIN]!;
    const human = this.#values[AUTH_HUMAN];
    const { value, raw } = authResult(this.#values[AUTH_RESULT] ?? "", this.#warnings);
    if (missesDomain(domain, value)) this.#warnings.add("auth-domain-missing");
    if (domain) result.domain = identifier(domain, this.#warnings);
    result.result = value;
    if (human) result.humanResult = human;
    if (raw !== undefined) result.raw = raw;
  }

  endReason(): void {
    const type = this.#values[REASON_TYPE]!;
    const comment = this.#values[REASON_COMMENT]!;
    if (type === null && comment === null) return;
    if (this.#reasons.length >= MOST_RESULTS) return;
    const { value, raw } = reasonType(type ?? "", this.#warnings);
    this.#reasons.push({
      type: value,
      comment: comment || null,
      ...(this.commentLang ? { lang: this.commentLang } : {}),
      ...(raw === undefined || raw === "" ? {} : { raw }),
    });
  }

  /** The record, "" as header_from where that is missing; or the reason why its row cannot be used. */
  build(): DmarcRecord | string {
    const warnings = this.#warnings;
    const values = this.#values;
    const ip = values[SOURCE_IP]!;
    const address = ip ? readIp(ip) : undefined;
    if (!address) return `source_ip ${ip ? `"${ip}"` : "missing"}`;
    const sent = values[COUNT]!;
    const count = sent === null ? undefined : recordCount(sent, warnings);
    if (count === undefined) return `count ${sent ? `"${sent}"` : "missing"}`;
    if (count === 0) warnings.add("count-zero");
    if (address.repaired) warnings.add("ip-repaired", ip);
    if (!this.sawEvaluated) warnings.add("policy-evaluated-missing");
    if (!this.sawAuth) warnings.add("auth-results-missing");
    const headerFrom = values[HEADER_FROM];
    if (!headerFrom) warnings.add("identifiers-missing");
    // a section that is missing as a whole is noted once
    const noted = this.sawEvaluated ? warnings : undefined;
    const evaluation = {
      disposition: disposition(values[DISPOSITION] ?? "", noted),
      dkim: evaluated(values[EVAL_DKIM] ?? "", noted),
      spf: evaluated(values[EVAL_SPF] ?? "", noted),
    };
    return {
      sourceIp: address.ip,
      count,
      disposition: evaluation.disposition.value,
      dkim: evaluation.dkim.value,
      spf: evaluation.spf.value,
      reasons: this.#reasons,
      headerFrom: headerFrom ? identifier(headerFrom, warnings) : "",
      envelopeFrom: this.#envelope(ENVELOPE_FROM),
      envelopeTo: this.#envelope(ENVELOPE_TO),
      dkimResults: this.#dkimResults,
      spfResults: this.#spfResults,
      extensions: this.extensions || null,
      raw: rawOf(
        address.repaired ? ip : undefined,
        values[DISPOSITION] === null ? undefined : evaluation.disposition.raw,
        values[EVAL_DKIM] === null ? undefined : evaluation.dkim.raw,
        values[EVAL_SPF] === null ? undefined : evaluation.spf.raw,
      ),
    };
  }

  /** null = absent, "" = the null sender, also written `<>`. */
  #envelope(fieldNumber: number): string | null {
    const sent = this.#values[fieldNumber]!;
    if (sent === null) return null;
    return sent === "" || sent === "<>" ? "" : identifier(sent, this.#warnings);
  }
}

function rawOf(
  sourceIp: string | undefined,
  dispositionSent: string | undefined,
  dkim: string | undefined,
  spf: string | undefined,
): Record<string, string> | null {
  if (sourceIp === undefined && dispositionSent === undefined && dkim === undefined && spf === undefined)
    return null;
  return {
    ...(sourceIp === undefined ? {} : { source_ip: sourceIp }),
    ...(dispositionSent === undefined ? {} : { disposition: dispositionSent }),
    ...(dkim === undefined ? {} : { dkim }),
    ...(spf === undefined ? {} : { spf }),
  };
}

/** An empty domain beside the result none means that there was nothing to check. */
function missesDomain(domain: string | null, result: AuthResultWord): boolean {
  return domain === null || (domain === "" && result !== "none");
}
