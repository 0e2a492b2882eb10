/** A composed DMARC report, parsed again by our own streaming reader and compared record by record. */
import { normalizeDomain } from "../../model/domain-name.ts";
import { readIp } from "../../model/ip.ts";
import { WarningList } from "../../model/outcome.ts";
import type { DmarcHead, DmarcRecord } from "../../model/report.ts";
import { identityOf } from "../dmarc/output.ts";
import { readDmarc } from "../dmarc/read.ts";
import { contactAddress, identifier } from "../dmarc/values.ts";
import { type DmarcDocument, dispositionOf, reasonsOf, xmlText } from "../dmarc/write.ts";
import { comparing, complete, differs, PART, readBackContext, same } from "./read-back.ts";

type CountedRow = DmarcDocument["rows"] extends Iterable<infer T> ? T : never;

/** Throws `compose.readback_differs` unless the XML says exactly what the document says. */
export function readBackDmarc(bytes: Uint8Array, document: DmarcDocument): void {
  const rows = document.rows[Symbol.iterator]();
  let records = 0;
  let messages = 0;
  const sink = comparing({
    head: (head) => compareHead(head as DmarcHead, document),
    record(record) {
      const wanted = rows.next();
      if (wanted.done) differs(`more than ${records} records`);
      records++;
      messages += wanted.value.count;
      compareRecord(`record ${records}`, record, wanted.value, document);
    },
  });
  const reading = readDmarc({ open: () => [bytes] }, readBackContext(document.end), sink, PART);
  complete(reading, records, messages);
  if (!rows.next().done) differs(`only ${records} records`);
}

/** Free text as it comes out of a reader: blanks at its ends are gone, and line ends may be others. */
const plain = (text: string | null): string =>
  xmlText(text ?? "")
    .replace(/\s+/g, " ")
    .trim();
const NOTHING = new WarningList();

function compareHead(head: DmarcHead, { identity, policy, reportId, begin, end, note }: DmarcDocument): void {
  // a blank name is replaced by the reader
  if (plain(identity.orgName) !== "") same("org_name", plain(head.orgName), plain(identity.orgName));
  same("email", head.email, contactAddress(xmlText(identity.from).trim(), NOTHING) ?? "");
  same("report_id", head.reportId, reportId);
  same("begin", head.begin, begin);
  same("end", head.end, end);
  same("error", plain(head.errors.map(({ text }) => text).join(" ")), plain(note));
  same("domain", head.policy.domain, normalizeDomain(policy.domain) ?? policy.domain.toLowerCase());
  same("p", head.policy.p, policy.p);
  same("sp", head.policy.sp, policy.sp ?? policy.p);
  same("adkim", head.policy.adkim, policy.adkim);
  same("aspf", head.policy.aspf, policy.aspf);
}

function compareRecord(
  at: string,
  record: DmarcRecord,
  { row, count }: CountedRow,
  document: DmarcDocument,
): void {
  const { policy, profile } = document;
  const name = (text: string): string => (text === "" ? "" : identifier(text, NOTHING));
  const dkim = row.dkim.map(({ domain, selector, result }) => ({
    domain: name(domain) || null,
    selector: selector || null,
    result,
  }));
  const from = row.envelopeFrom === null ? null : name(row.envelopeFrom);
  const wanted = {
    sourceIp: readIp(row.sourceIp)?.ip ?? row.sourceIp,
    count,
    disposition: dispositionOf(row, policy, profile) as DmarcRecord["disposition"],
    dkim: row.dkimAligned ? "pass" : "fail",
    spf: row.spfAligned ? "pass" : "fail",
    headerFrom: name(row.headerFrom),
    envelopeFrom: profile === "both" ? (from ?? "") : from,
    envelopeTo: row.envelopeTo === null ? null : name(row.envelopeTo),
    dkimResults: dkim,
    spfResults: spfOf(row, profile).map(({ domain, result }) => ({
      domain: name(domain) || null,
      scope: "mfrom",
      result,
    })),
    reasons: reasonsOf(row, policy).map(({ type, comment }) => ({ type, comment: plain(comment) || null })),
  } as const;
  const read = {
    ...record,
    reasons: record.reasons.map((each) => ({ ...each, comment: plain(each.comment) || null })),
  };
  same(at, identityOf(read), identityOf(wanted as unknown as DmarcRecord));
  const humans = row.dkim.map(({ humanResult }) => plain(humanResult)).join("|");
  same(
    `${at} human_result`,
    record.dkimResults.map((each) => plain(each.humanResult ?? null)).join("|"),
    humans,
  );
}

/** The SPF result that stands in the report; RFC 7489 wants one always. */
function spfOf(
  row: CountedRow["row"],
  profile: DmarcDocument["profile"],
): readonly { readonly domain: string; readonly result: string }[] {
  if (row.spf) return [row.spf];
  return profile === "both" ? [{ domain: row.envelopeFrom || row.headerFrom, result: "none" }] : [];
}
