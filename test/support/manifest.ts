/** The rows of a corpus manifest, and whether an answer of `check` or `import` is what a row expects. */
import { readFileSync } from "node:fs";

export interface ManifestRow {
  readonly file: string;
  readonly kind: string;
  readonly expected: string;
  /** Number of the report in a file with several; from 0. */
  readonly item: number;
  readonly orgName: string;
  readonly reportId: string;
  readonly policyDomain: string;
  readonly begin: string;
  readonly end: string;
  readonly records: string;
  readonly messages: string;
  readonly pass: string;
  readonly group: string;
  readonly notes: string;
}

export function readManifest(path: string): ManifestRow[] {
  const [, ...lines] = readFileSync(path, "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const f = line.split("\t");
    return {
      file: f[0]!,
      kind: f[1]!,
      expected: f[4]!,
      item: f[5] ? Number(f[5]) - 1 : 0,
      orgName: f[6]!,
      reportId: f[7]!,
      policyDomain: f[8]!,
      begin: f[9]!,
      end: f[10]!,
      records: f[11]!,
      messages: f[12]!,
      pass: f[13]!,
      group: f[14] ?? "",
      notes: f[16] ?? "",
    };
  });
}

export const isValid = (row: ManifestRow): boolean =>
  ["valid", "valid-with-warnings", "partial", "duplicate"].includes(row.expected);

interface WireReport {
  readonly org_name: string | null;
  readonly report_id: string | null;
  readonly policy_domain: string | null;
  readonly begin: number | null;
  readonly end: number | null;
  readonly records: number;
  readonly messages: number;
  readonly pass_messages: number | null;
}

/** The figures of a report and those of a row, to be compared. Free-text rows of the manifest give none. */
export function figures(
  report: WireReport | undefined,
  row: ManifestRow,
): { readonly found: string; readonly wanted: string } {
  const text = (value: unknown): string => (value === null || value === undefined ? "" : String(value));
  if (!report) return { found: "no report", wanted: "a report" };
  if (row.records === "" && row.orgName === "") return { found: "a report", wanted: "a report" };
  const r = report;
  const found = [r.org_name, r.report_id, r.policy_domain, r.begin, r.end, r.records, r.messages];
  const wanted = [row.orgName, row.reportId, row.policyDomain, row.begin, row.end, row.records, row.messages];
  if (row.reportId === "(synthesised)") {
    found[1] = /^sha256:[0-9a-f]{64}$/.test(text(found[1])) ? "(synthesised)" : found[1]!;
  }
  if (row.pass !== "") {
    found.push(r.pass_messages);
    wanted.push(row.pass);
  }
  return { found: found.map(text).join(" | "), wanted: wanted.join(" | ") };
}
