/**
 * A composed DMARC report as a parser sees it that is not ours: a mistake that our writer and our reader share would
 * go unnoticed. It takes ten times as long as writing, so only reports of a moderate size are given to it.
 */
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { type DmarcDocument, xmlText } from "../dmarc/write.ts";
import { differs, same } from "./read-back.ts";

/** Records of a report up to which this costs some tens of milliseconds. */
export const FOREIGN_RECORDS = 250;

const LISTS = new Set(["feedback.record", "feedback.record.auth_results.dkim"]);

const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  isArray: (_name, path) => LISTS.has(String(path)),
});

interface ParsedRecord {
  readonly row: {
    readonly source_ip: string;
    readonly count: string;
    readonly policy_evaluated: { readonly dkim: string; readonly spf: string };
  };
  readonly identifiers: Readonly<Record<string, string>>;
  readonly auth_results: {
    readonly dkim?: readonly { readonly domain: string; readonly result: string }[];
    readonly spf?: { readonly domain: string; readonly result: string };
  };
}

interface ParsedFeedback {
  readonly report_metadata: Readonly<Record<string, string>> & {
    readonly date_range: Readonly<Record<string, string>>;
  };
  readonly policy_published: Readonly<Record<string, string>>;
  readonly record?: readonly ParsedRecord[];
}

/** Throws `compose.readback_differs` when the XML is not well-formed or says something else than the document. */
export function readBackForeign(bytes: Uint8Array, document: DmarcDocument): void {
  const text = Buffer.from(bytes).toString();
  const valid = XMLValidator.validate(text);
  if (valid !== true) differs(`not well-formed: ${valid.err.msg}`);
  const { feedback } = parser.parse(text) as { feedback: ParsedFeedback };
  const { report_metadata: metadata, policy_published: policy, record: records = [] } = feedback;
  same("org_name", metadata.org_name, xmlText(document.identity.orgName));
  same("email", metadata.email, xmlText(document.identity.from));
  same("report_id", metadata.report_id, document.reportId);
  same("begin", metadata.date_range.begin, String(document.begin));
  same("end", metadata.date_range.end, String(document.end));
  same("domain", policy.domain, xmlText(document.policy.domain));
  same("p", policy.p, document.policy.p);
  let n = 0;
  for (const { row, count } of document.rows) {
    const record = records[n++];
    if (!record) differs(`only ${records.length} records`);
    compareRecord(`record ${n}`, record, row, count);
  }
  same("number of records", records.length, n);
}

type Row = DmarcDocument["rows"] extends Iterable<{ readonly row: infer R }> ? R : never;

function compareRecord(at: string, record: ParsedRecord, row: Row, count: number): void {
  const { source_ip, count: counted, policy_evaluated } = record.row;
  same(`${at} source_ip`, source_ip, xmlText(row.sourceIp));
  same(`${at} count`, counted, String(count));
  same(`${at} dkim`, policy_evaluated.dkim, row.dkimAligned ? "pass" : "fail");
  same(`${at} spf`, policy_evaluated.spf, row.spfAligned ? "pass" : "fail");
  same(`${at} header_from`, record.identifiers.header_from, xmlText(row.headerFrom));
  same(`${at} envelope_from`, record.identifiers.envelope_from ?? "", xmlText(row.envelopeFrom ?? ""));
  same(`${at} envelope_to`, record.identifiers.envelope_to ?? "", xmlText(row.envelopeTo ?? ""));
  const dkim = (record.auth_results.dkim ?? []).map((each) => `${each.domain} ${each.result}`).join();
  same(`${at} dkim results`, dkim, row.dkim.map((each) => xmlText(`${each.domain} ${each.result}`)).join());
  if (!row.spf) return;
  const spf = record.auth_results.spf;
  same(`${at} spf result`, `${spf?.domain} ${spf?.result}`, xmlText(`${row.spf.domain} ${row.spf.result}`));
}
