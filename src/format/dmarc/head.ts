/** Metadata and published policy of a DMARC report: corrected, with missing values taken from the mail and file name. */
import { isIP } from "node:net";
import { normalizeDomain } from "../../model/domain-name.ts";
import { LONG_SPAN, LONGEST_SPREAD } from "../../model/figures.ts";
import type { WarningList } from "../../model/outcome.ts";
import type { DmarcHead, PublishedPolicy, TextWithLang } from "../../model/report.ts";
import { type ReadContext, ReadStop } from "../context.ts";
import { alignmentMode, contactAddress, epochOf, percentage, policyWord } from "./values.ts";

/** Fields as sent, first occurrence each. */
export interface RawHead {
  readonly fields: Map<string, string>;
  readonly langs: Map<string, string>;
  readonly errors: TextWithLang[];
  /** Whole sections seen. */
  sawMetadata: boolean;
  sawPolicy: boolean;
  namespace: string | null;
  /** Prefix → its declaration on the root element, for extensions. */
  prefixes: ReadonlyMap<string, string>;
  extensions: string;
}

export const emptyHead = (): RawHead => ({
  fields: new Map(),
  langs: new Map(),
  errors: [],
  sawMetadata: false,
  sawPolicy: false,
  namespace: null,
  prefixes: new Map(),
  extensions: "",
});

const RFC9990_NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0";
const KNOWN_NAMESPACES = new Set([
  RFC9990_NAMESPACE,
  "http://dmarc.org/dmarc-xml/0.1",
  "http://dmarc.org/dmarc-xml/0.2",
]);
/** Of RFC 7489 and of policy records that reporters copy whole. */
const OTHER_POLICY_FIELDS = ["rf", "ri", "psd"];
const FUTURE_GRACE = 3600;

/** The head of the report. Throws ReadStop: missing-metadata, missing-policy, missing-domain, bad-date-range. */
export function buildHead(raw: RawHead, context: ReadContext, warnings: WarningList): DmarcHead {
  if (!raw.sawMetadata && !raw.sawPolicy) throw new ReadStop("missing-metadata");
  if (!raw.sawPolicy) throw new ReadStop("missing-policy");
  const policy = readPolicy(raw, warnings);
  const get = (name: string): string | null => raw.fields.get(name) || null;
  const email = get("email") === null ? null : contactAddress(get("email")!, warnings);
  const range = readDateRange(raw, context, warnings);
  if (raw.namespace !== null && raw.namespace !== "" && !KNOWN_NAMESPACES.has(raw.namespace)) {
    warnings.add("unknown-namespace", raw.namespace);
  }
  const contact = get("extra_contact_info");
  return {
    kind: "dmarc",
    orgName: organisation(get("org_name"), email, context, warnings),
    email,
    extraContactInfo:
      contact === null ? null : { text: contact, lang: raw.langs.get("extra_contact_info") ?? null },
    ...readReportId(get("report_id"), context, warnings),
    ...range,
    errors: raw.errors,
    generator: get("generator"),
    version: get("version"),
    namespace: raw.namespace,
    flavour:
      raw.namespace === RFC9990_NAMESPACE
        ? "rfc9990"
        : get("version") === null && raw.namespace === null
          ? "draft"
          : "rfc7489",
    policy,
    extensions: raw.extensions || null,
  };
}

function organisation(
  name: string | null,
  email: string | null,
  context: ReadContext,
  warnings: WarningList,
): string {
  if (name !== null) return name;
  warnings.add("org-missing");
  const domain = email?.includes("@") ? email.slice(email.lastIndexOf("@") + 1) : null;
  if (domain) return domain;
  const { subjectSubmitter, nameReceiver } = context.around();
  return subjectSubmitter || nameReceiver || "";
}

const cleanId = (sent: string): string => sent.replace(/^[<\s"]+|[>\s"]+$/g, "");

/** Whether the metadata, now complete, or the Subject has a report id. */
export function hasReportId({ fields }: RawHead, context: ReadContext): boolean {
  return cleanId(fields.get("report_id") ?? "") !== "" || context.around().subjectReportId !== null;
}

/** Strips `<>` and blanks; `@…` stays, for ids that differ only there are different. "" = made from the content later. */
export function readReportId(
  text: string | null,
  context: ReadContext,
  warnings: WarningList,
): { readonly reportId: string; readonly reportIdRaw: string | null } {
  const sent = text ?? "";
  const clean = cleanId(sent);
  if (clean === "") {
    warnings.add("report-id-missing");
    return { reportId: context.around().subjectReportId ?? "", reportIdRaw: null };
  }
  if (clean === sent) return { reportId: clean, reportIdRaw: null };
  warnings.add("report-id-cleaned", sent);
  return { reportId: clean, reportIdRaw: sent };
}

function readDateRange(
  raw: RawHead,
  context: ReadContext,
  warnings: WarningList,
): { readonly begin: number; readonly end: number } {
  const begin = epochOf(raw.fields.get("begin") ?? "", warnings);
  const end = epochOf(raw.fields.get("end") ?? "", warnings);
  return checkRange(begin, end, context, warnings);
}

/** The range, from the name where it is lost, in order, and flagged where it is odd. Throws ReadStop. */
export function checkRange(
  givenBegin: number | undefined,
  givenEnd: number | undefined,
  context: ReadContext,
  warnings: WarningList,
): { readonly begin: number; readonly end: number } {
  let begin = givenBegin;
  let end = givenEnd;
  if (begin === undefined || end === undefined) {
    const { nameBegin, nameEnd } = context.around();
    if (nameBegin === null || nameEnd === null) {
      throw new ReadStop("bad-date-range", begin === undefined ? "no readable begin" : "no readable end");
    }
    warnings.add("date-from-name");
    begin = nameBegin;
    end = nameEnd;
  }
  if (end < begin) {
    warnings.add("date-reversed");
    [begin, end] = [end, begin];
  }
  if (begin === end) warnings.add("date-equal");
  if (end - begin > LONGEST_SPREAD) warnings.add("span-too-long", `${end - begin} s`);
  else if (end - begin > LONG_SPAN) warnings.add("long-span", `${end - begin} s`);
  if (end > context.hints.receivedAt + FUTURE_GRACE) warnings.add("future-range");
  return { begin, end };
}

function readPolicy(raw: RawHead, warnings: WarningList): PublishedPolicy {
  const get = (name: string): string => raw.fields.get(name) ?? "";
  const sent = get("policy_domain");
  if (sent === "") throw new ReadStop("missing-domain");
  const domain = normalizeDomain(sent) ?? sent.toLowerCase().replace(/\.$/, "");
  if (isIP(domain) !== 0 || /[\s<>]/.test(domain) || domain.length > 253)
    throw new ReadStop("missing-domain", sent);
  if (domain !== sent) warnings.add("domain-repaired", sent);
  const values = {
    adkim: alignmentMode(get("adkim")),
    aspf: alignmentMode(get("aspf")),
    p: policyWord(get("p")),
    sp: policyWord(get("sp")),
    np: policyWord(get("np")),
    pct: percentage(get("pct")),
  };
  const odd = Object.entries(values).filter(([, v]) => v.raw !== undefined) as [string, { raw: string }][];
  for (const [name, { raw: was }] of odd) warnings.add("policy-value", `${name} ${was}`);
  const testing = get("testing").toLowerCase();
  const discovery = get("discovery_method").toLowerCase();
  const sentAs = Object.fromEntries(odd.map(([name, { raw: was }]) => [name, was]));
  // values of older schemas, and words that no schema has, are kept as raw values
  for (const name of OTHER_POLICY_FIELDS) if (get(name) !== "") sentAs[name] = get(name);
  if (testing !== "" && testing !== "y" && testing !== "n") sentAs.testing = get("testing");
  if (discovery !== "" && discovery !== "psl" && discovery !== "treewalk")
    sentAs.discovery_method = get("discovery_method");
  return {
    domain,
    adkim: values.adkim.value,
    aspf: values.aspf.value,
    p: values.p.value,
    sp: values.sp.value,
    np: values.np.value,
    pct: values.pct.value,
    fo: get("fo") || null,
    testing: testing === "y" || testing === "n" ? testing : null,
    discoveryMethod: discovery === "psl" || discovery === "treewalk" ? discovery : null,
    versionPublished: get("version_published") || null,
    raw: Object.keys(sentAs).length > 0 ? sentAs : null,
  };
}
