/** One record of a DMARC report: its fields as they come, and what they make. */
import { readIp } from "../model/ip.ts";
import type { WarningList } from "../model/outcome.ts";
import type {
  AuthResultWord,
  DkimAuthResult,
  DmarcRecord,
  OverrideReason,
  SpfAuthResult,
} from "../model/report.ts";
import { authResult, disposition, evaluated, identifier, reasonType, recordCount } from "./dmarc-values.ts";

/** Results and reasons of one record beyond this are dropped: nobody signs a mail a thousand times. */
const MOST_RESULTS = 1000;

/** Collects one record; cleared and used again for the next one. */
export class RecordBuilder {
  readonly #warnings: WarningList;
  sourceIp: string | null = null;
  count: string | null = null;
  disposition: string | null = null;
  dkim: string | null = null;
  spf: string | null = null;
  headerFrom: string | null = null;
  envelopeFrom: string | null = null;
  envelopeTo: string | null = null;
  sawEvaluated = false;
  sawIdentifiers = false;
  sawAuth = false;
  #reasons: OverrideReason[] = [];
  #dkimResults: DkimAuthResult[] = [];
  #spfResults: SpfAuthResult[] = [];
  /** The result or reason that is open now. */
  domain: string | null = null;
  selector: string | null = null;
  result: string | null = null;
  human: string | null = null;
  scope: string | null = null;
  reasonType: string | null = null;
  comment: string | null = null;
  commentLang: string | null = null;
  /** Elements of other namespaces at the end of the record, as XML. */
  extensions = "";

  constructor(warnings: WarningList) {
    this.#warnings = warnings;
  }

  clear(): void {
    this.sourceIp = this.count = this.disposition = this.dkim = this.spf = null;
    this.headerFrom = this.envelopeFrom = this.envelopeTo = null;
    this.sawEvaluated = this.sawIdentifiers = this.sawAuth = false;
    this.#reasons = [];
    this.#dkimResults = [];
    this.#spfResults = [];
    this.extensions = "";
    this.beginPart();
  }

  /** A `<dkim>`, `<spf>` or `<reason>` begins. */
  beginPart(): void {
    this.domain = this.selector = this.result = this.human = this.scope = null;
    this.reasonType = this.comment = this.commentLang = null;
  }

  endDkim(): void {
    const { domain, selector, result, human } = this;
    // <dkim/> says that there was no signature
    if (domain === null && selector === null && result === null) return;
    if (this.#dkimResults.length >= MOST_RESULTS) return;
    const { value, raw } = authResult(result ?? "", this.#warnings);
    if (missesDomain(domain, value)) this.#warnings.add("auth-domain-missing");
    this.#dkimResults.push({
      domain: domain ? identifier(domain, this.#warnings) : null,
      selector: selector || null,
      result: value,
      ...(human ? { humanResult: human } : {}),
      ...(raw === undefined ? {} : { raw }),
    });
  }

  endSpf(): void {
    const { domain, scope, result, human } = this;
    if (domain === null && result === null) return;
    if (this.#spfResults.length >= MOST_RESULTS) return;
    const { value, raw } = authResult(result ?? "", this.#warnings);
    if (missesDomain(domain, value)) this.#warnings.add("auth-domain-missing");
    const scopeWord = scope?.toLowerCase();
    this.#spfResults.push({
      domain: domain ? identifier(domain, this.#warnings) : null,
      scope: scopeWord === "mfrom" || scopeWord === "helo" ? scopeWord : null,
      result: value,
      ...(human ? { humanResult: human } : {}),
      ...(raw === undefined ? {} : { raw }),
    });
  }

  endReason(): void {
    if (this.reasonType === null && this.comment === null) return;
    if (this.#reasons.length >= MOST_RESULTS) return;
    const { value, raw } = reasonType(this.reasonType ?? "", this.#warnings);
    this.#reasons.push({
      type: value,
      comment: this.comment || null,
      ...(this.commentLang ? { lang: this.commentLang } : {}),
      ...(raw === undefined || raw === "" ? {} : { raw }),
    });
  }

  /**
   * The record, or the reason why its row cannot be used.
   * @param policyDomain stands in for missing identifiers; null when it is not known yet
   */
  build(policyDomain: string | null): DmarcRecord | string {
    const warnings = this.#warnings;
    const address = this.sourceIp ? readIp(this.sourceIp) : undefined;
    if (!address) return `source_ip ${this.sourceIp ? `"${this.sourceIp}"` : "missing"}`;
    const count = this.count === null ? undefined : recordCount(this.count, warnings);
    if (count === undefined) return `count ${this.count ? `"${this.count}"` : "missing"}`;
    let raw: Record<string, string> | null = null;
    const note = (name: string, value: string | undefined): void => {
      if (value !== undefined) {
        raw ??= {};
        raw[name] = value;
      }
    };
    if (address.repaired) {
      warnings.add("ip-repaired", this.sourceIp);
      note("source_ip", this.sourceIp!);
    }
    if (count === 0) warnings.add("count-zero");
    if (!this.sawEvaluated) warnings.add("policy-evaluated-missing");
    const silent = this.sawEvaluated ? warnings : NO_WARNINGS;
    const dispositionValue = disposition(this.disposition ?? "", silent);
    const dkim = evaluated(this.dkim ?? "", silent);
    const spf = evaluated(this.spf ?? "", silent);
    note("disposition", this.disposition === null ? undefined : dispositionValue.raw);
    note("dkim", this.dkim === null ? undefined : dkim.raw);
    note("spf", this.spf === null ? undefined : spf.raw);
    if (!this.headerFrom) warnings.add("identifiers-missing");
    if (!this.sawAuth) warnings.add("auth-results-missing");
    return {
      sourceIp: address.ip,
      count,
      disposition: dispositionValue.value,
      dkim: dkim.value,
      spf: spf.value,
      reasons: this.#reasons,
      headerFrom: this.headerFrom ? identifier(this.headerFrom, warnings) : (policyDomain ?? ""),
      envelopeFrom: this.envelopeFrom === null ? null : identifier(this.envelopeFrom, warnings),
      envelopeTo: this.envelopeTo === null ? null : identifier(this.envelopeTo, warnings),
      dkimResults: this.#dkimResults,
      spfResults: this.#spfResults,
      extensions: this.extensions || null,
      raw,
    };
  }
}

/** An empty domain beside the result none says that there was nothing to check. */
function missesDomain(domain: string | null, result: AuthResultWord): boolean {
  return domain === null || (domain === "" && result !== "none");
}

/** For values that are absent as a whole, which is noted once. */
const NO_WARNINGS = { add() {}, has: () => false } as unknown as WarningList;
