/**
 * Writes DMARC aggregate reports. The profile `both` passes the schemas of RFC 9990 and of RFC 7489 (as repaired by
 * its errata), so that every receiver can read it; `rfc9990` says all that the new one can.
 */
import type { DmarcRow, EvaluatedPolicy, PolicyWord } from "../../model/evaluation.ts";

export interface ReportIdentity {
  /** The domain that reports. */
  readonly domain: string;
  readonly submitter: string;
  readonly orgName: string;
  /** Where the reports come from. */
  readonly from: string;
  readonly contactInfo: string | null;
  /** `mailreportd 1.2.3` */
  readonly generator: string;
}

export interface DmarcDocument {
  readonly identity: ReportIdentity;
  readonly reportId: string;
  /** First and last second. */
  readonly begin: number;
  readonly end: number;
  readonly policy: EvaluatedPolicy;
  readonly rows: Iterable<{ readonly row: DmarcRow; readonly count: number }>;
  /** A terse remark for the error element. */
  readonly note: string | null;
  /** One that can say the policy and the rows: see `needsRfc9990`. */
  readonly profile: Profile;
}

export type Profile = "both" | "rfc9990";

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

/** Text without the characters that XML 1.0 cannot hold. */
export function xmlText(text: string): string {
  return text.replace(
    /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    "",
  );
}

/** Text for XML, with its markup escaped. */
function xml(text: string): string {
  return xmlText(text).replace(/[&<>"']/g, (c) => ESCAPES[c]!);
}

/** np and test mode are new in RFC 9990: the profile `both` cannot say such a policy. */
export function needsRfc9990({ p, sp, np, testing }: EvaluatedPolicy): boolean {
  return (np !== null && np !== (sp ?? p)) || testing === "y";
}

/** The report in pieces, one a record. */
export function* dmarcPieces(document: DmarcDocument): Generator<string> {
  const { identity, policy, profile } = document;
  const contact =
    identity.contactInfo === null
      ? ""
      : `\n    <extra_contact_info>${xml(identity.contactInfo)}</extra_contact_info>`;
  const error = document.note === null ? "" : `\n    <error>${xml(document.note)}</error>`;
  const generator = profile === "rfc9990" ? `\n    <generator>${xml(identity.generator)}</generator>` : "";
  yield `<?xml version="1.0" encoding="UTF-8"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata>
    <org_name>${xml(identity.orgName)}</org_name>
    <email>${xml(identity.from)}</email>${contact}
    <report_id>${xml(document.reportId)}</report_id>
    <date_range><begin>${document.begin}</begin><end>${document.end}</end></date_range>${error}${generator}
  </report_metadata>
  <policy_published>${publishedPolicy(policy, profile)}</policy_published>
`;
  for (const { row, count } of document.rows) yield record(row, count, policy, profile);
  yield "</feedback>\n";
}

function publishedPolicy(policy: EvaluatedPolicy, profile: Profile): string {
  const { domain, adkim, aspf, p, sp, np, fo, testing, discovery } = policy;
  const common = `<domain>${xml(domain)}</domain><adkim>${adkim}</adkim><aspf>${aspf}</aspf><p>${p}</p><sp>${sp ?? p}</sp>`;
  if (profile === "both") return `${common}<fo>${xml(fo)}</fo>`;
  const method = discovery === null ? "" : `<discovery_method>${discovery}</discovery_method>`;
  return `${common}<np>${np ?? sp ?? p}</np><testing>${testing}</testing>${method}<fo>${xml(fo)}</fo>`;
}

/** The policy that was published for the author domain of a row. */
function publishedFor(row: DmarcRow, policy: EvaluatedPolicy): PolicyWord {
  return row.headerFrom === policy.domain ? policy.p : (policy.sp ?? policy.p);
}

/** A reason must tell why the applied policy is not the published one (RFC 9990 3.1.1.9). */
export function reasonsOf(row: DmarcRow, policy: EvaluatedPolicy): DmarcRow["reasons"] {
  if (row.reasons.length > 0 || row.dkimAligned || row.spfAligned) return row.reasons;
  if (row.disposition === publishedFor(row, policy)) return row.reasons;
  return [{ type: policy.testing === "y" ? "policy_test_mode" : "local_policy", comment: null }];
}

/** RFC 9990 3.1.1.9: `pass` is DMARC pass under an enforcing policy; RFC 7489 lacks the word. */
export function dispositionOf(row: DmarcRow, policy: EvaluatedPolicy, profile: Profile): string {
  if (profile === "both") return row.disposition === "pass" ? "none" : row.disposition;
  const passed = row.dkimAligned || row.spfAligned;
  return passed && row.disposition === "none" && publishedFor(row, policy) !== "none"
    ? "pass"
    : row.disposition;
}

function record(row: DmarcRow, count: number, policy: EvaluatedPolicy, profile: Profile): string {
  const reasons = reasonsOf(row, policy)
    .map(
      ({ type, comment }) =>
        `<reason><type>${type}</type>${comment === null ? "" : `<comment>${xml(comment)}</comment>`}</reason>`,
    )
    .join("");
  const to = row.envelopeTo === null ? "" : `<envelope_to>${xml(row.envelopeTo)}</envelope_to>`;
  // RFC 7489 wants the element always
  const from =
    row.envelopeFrom === null && profile === "rfc9990"
      ? ""
      : `<envelope_from>${xml(row.envelopeFrom ?? "")}</envelope_from>`;
  return `  <record>
    <row><source_ip>${xml(row.sourceIp)}</source_ip><count>${count}</count><policy_evaluated><disposition>${dispositionOf(row, policy, profile)}</disposition><dkim>${row.dkimAligned ? "pass" : "fail"}</dkim><spf>${row.spfAligned ? "pass" : "fail"}</spf>${reasons}</policy_evaluated></row>
    <identifiers>${to}${from}<header_from>${xml(row.headerFrom)}</header_from></identifiers>
    <auth_results>${row.dkim.map(dkimResult).join("")}${spfResult(row, profile)}</auth_results>
  </record>
`;
}

function dkimResult({ domain, selector, result, humanResult }: DmarcRow["dkim"][number]): string {
  const human = humanResult === null ? "" : `<human_result>${xml(humanResult)}</human_result>`;
  return `<dkim><domain>${xml(domain)}</domain><selector>${xml(selector)}</selector><result>${result}</result>${human}</dkim>`;
}

function spfResult(row: DmarcRow, profile: Profile): string {
  if (row.spf !== null) {
    const { domain, result, humanResult } = row.spf;
    const human =
      humanResult === null || profile === "both" ? "" : `<human_result>${xml(humanResult)}</human_result>`;
    return `<spf><domain>${xml(domain)}</domain><scope>mfrom</scope><result>${result}</result>${human}</spf>`;
  }
  if (profile === "rfc9990") return "";
  // RFC 7489 wants one: nothing was checked
  return `<spf><domain>${xml(row.envelopeFrom || row.headerFrom)}</domain><scope>mfrom</scope><result>none</result></spf>`;
}
