/** Every composed report is read back by a parser that we did not write, and compared, before it is queued. */
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { MailreportError } from "../../lib/errors.ts";
import { type DmarcDocument, dispositionOf, profileFor, reasonsOf } from "../dmarc/write.ts";
import { type TlsDocument, tlsValue } from "../tlsrpt/write.ts";

const LISTS = new Set([
  "feedback.record",
  "feedback.record.auth_results.dkim",
  "feedback.record.row.policy_evaluated.reason",
]);

const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  isArray: (_name, path) => LISTS.has(String(path)),
});

interface ReadRecord {
  readonly row: {
    readonly source_ip: string;
    readonly count: string;
    readonly policy_evaluated: {
      readonly disposition: string;
      readonly dkim: string;
      readonly spf: string;
      readonly reason?: readonly { readonly type: string }[];
    };
  };
  readonly identifiers: Readonly<Record<string, string>>;
  readonly auth_results: {
    readonly dkim?: readonly {
      readonly domain: string;
      readonly selector: string;
      readonly result: string;
    }[];
    readonly spf?: { readonly domain: string; readonly result: string };
  };
}

function differs(what: string): never {
  throw new MailreportError("compose.readback_differs", { detail: what });
}

/** What text becomes on its way through XML: line ends are normalised, illegal characters are gone. */
function carried(text: string): string {
  return text.replace(
    /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    "",
  );
}

function same(what: string, read: unknown, wanted: string): void {
  if ((read ?? "") !== carried(wanted))
    differs(
      `${what}: ${JSON.stringify(read)?.slice(0, 100)} in place of ${JSON.stringify(wanted).slice(0, 100)}`,
    );
}

/** Throws `compose.readback_differs` unless the XML says exactly what the document says. */
export function readBackDmarc(text: string, document: DmarcDocument): void {
  const valid = XMLValidator.validate(text);
  if (valid !== true) differs(`not well-formed: ${valid.err.msg}`);
  const { feedback } = parser.parse(text) as {
    feedback: {
      report_metadata: Record<string, unknown>;
      policy_published: Record<string, string>;
      record: ReadRecord[];
    };
  };
  const { identity, policy, rows } = document;
  const metadata = feedback.report_metadata;
  same("org_name", metadata.org_name, identity.orgName);
  same("email", metadata.email, identity.from);
  same("report_id", metadata.report_id, document.reportId);
  const range = metadata.date_range as { begin: string; end: string };
  same("begin", range.begin, String(document.begin));
  same("end", range.end, String(document.end));
  same("domain", feedback.policy_published.domain, policy.domain);
  same("p", feedback.policy_published.p, policy.p);
  if (feedback.record.length !== rows.length)
    differs(`${feedback.record.length} records in place of ${rows.length}`);
  const profile = profileFor(document);
  for (const [i, { row, count }] of rows.entries()) {
    const read = feedback.record[i]!;
    const at = `record ${i + 1}`;
    same(`${at} source_ip`, read.row.source_ip, row.sourceIp);
    same(`${at} count`, read.row.count, String(count));
    same(`${at} disposition`, read.row.policy_evaluated.disposition, dispositionOf(row, policy, profile));
    same(`${at} dkim`, read.row.policy_evaluated.dkim, row.dkimAligned ? "pass" : "fail");
    same(`${at} spf`, read.row.policy_evaluated.spf, row.spfAligned ? "pass" : "fail");
    same(
      `${at} reasons`,
      (read.row.policy_evaluated.reason ?? []).map((r) => r.type).join(),
      reasonsOf(row, policy)
        .map((r) => r.type)
        .join(),
    );
    same(`${at} header_from`, read.identifiers.header_from, row.headerFrom);
    same(`${at} envelope_from`, read.identifiers.envelope_from, row.envelopeFrom ?? "");
    same(`${at} envelope_to`, read.identifiers.envelope_to, row.envelopeTo ?? "");
    const dkim = (read.auth_results.dkim ?? []).map((d) => `${d.domain} ${d.selector} ${d.result}`).join();
    same(`${at} dkim results`, dkim, row.dkim.map((d) => `${d.domain} ${d.selector} ${d.result}`).join());
    if (row.spf)
      same(
        `${at} spf result`,
        `${read.auth_results.spf?.domain} ${read.auth_results.spf?.result}`,
        `${row.spf.domain} ${row.spf.result}`,
      );
  }
}

/** Throws `compose.readback_differs` unless the JSON says exactly what the document says. */
export function readBackTls(text: string, document: TlsDocument): void {
  const wanted = JSON.stringify(tlsValue(document));
  if (JSON.stringify(JSON.parse(text)) !== wanted) differs("the JSON of a TLS report");
  const read = JSON.parse(text) as {
    policies: { summary: Record<string, number>; "failure-details"?: { "failed-session-count": number }[] }[];
  };
  const sum = (of: (p: (typeof read.policies)[number]) => number): number =>
    read.policies.reduce((n, p) => n + of(p), 0);
  const successes = sum((p) => p.summary["total-successful-session-count"]!);
  const failures = sum((p) => p.summary["total-failure-session-count"]!);
  if (successes !== document.rows.reduce((n, r) => n + r.success, 0)) differs("the successful sessions");
  if (failures !== document.rows.reduce((n, r) => n + r.failure, 0)) differs("the failed sessions");
}
