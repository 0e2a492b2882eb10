/** What file names and Subjects say about a report: fallbacks for lost fields, never filters. */

import { normalizeDomain } from "../../model/domain-name.ts";
import type { SurroundingHints } from "../context.ts";

type NameHints = Pick<SurroundingHints, "nameReceiver" | "nameDomain" | "nameBegin" | "nameEnd">;

const NO_NAME: NameHints = { nameReceiver: null, nameDomain: null, nameBegin: null, nameEnd: null };

/** Of `receiver!policy-domain!begin!end[!unique-id].ext` (RFC 9990 3.5.2, RFC 8460 5.1). */
export function nameHints(fileName: string | null): NameHints {
  if (fileName === null || fileName.length > 1000) return NO_NAME;
  const base = fileName.slice(Math.max(fileName.lastIndexOf("/"), fileName.lastIndexOf("\\")) + 1);
  const match = /^([^!]{1,255})!([^!]{1,255})!(\d{1,11})!(\d{1,11})(?:[!.]|$)/.exec(base);
  if (!match) return NO_NAME;
  return {
    nameReceiver: match[1]!,
    nameDomain: normalizeDomain(match[2]!) ?? null,
    nameBegin: Number(match[3]) || null,
    nameEnd: Number(match[4]) || null,
  };
}

type SubjectHints = Pick<SurroundingHints, "subjectReportId" | "subjectSubmitter" | "subjectDomain">;

/** Of `Report Domain: d Submitter: s Report-ID: <id>` (RFC 9990 3.5.2, RFC 8460 5.3), any order and case. */
export function subjectHints(subject: string | null): SubjectHints {
  const text = (subject ?? "").slice(0, 2000);
  const take = (pattern: RegExp): string | null => pattern.exec(text)?.[1] ?? null;
  return {
    subjectDomain: take(/\bReport Domain:\s*([^\s<>]{1,255})/i),
    subjectSubmitter: take(/\bSubmitter:\s*([^\s<>]{1,255})/i),
    subjectReportId: take(/\bReport-ID:\s*<?([^\s<>]{1,255})/i),
  };
}
