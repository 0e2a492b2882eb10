/** What becomes of a mail, and why: the stable codes of the intake. They are API; never rename one. */

/** Every mail ends as exactly one of these. */
export const OUTCOMES = [
  "imported",
  "imported-with-warnings",
  "partial",
  "duplicate",
  "duplicate-conflict",
  "invalid",
  "not-a-report",
  "unauthenticated",
] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** Why a mail, or one part of it, is not (wholly) imported. */
export const REASONS = {
  empty: "the file or part has no content",
  "empty-archive": "an archive without entries",
  encrypted: "an encrypted archive entry",
  "unsupported-method": "an archive entry with an unknown compression method",
  truncated: "the content ends early and nothing usable is left",
  "bad-crc": "the checksum is wrong and nothing usable is left",
  "too-large": "more bytes than allowed, before or after decompression",
  "too-deep": "nested deeper than allowed",
  "too-many-entries": "an archive with more entries than allowed",
  "too-many-parts": "a mail with more parts than allowed",
  "too-many-reports": "a mail with more reports than allowed",
  "too-many-records": "a report with more records than allowed",
  doctype: "a document type or entity declaration, which no report has",
  "not-xml": "not XML at all",
  "not-feedback": "XML that is no DMARC report",
  placeholder: "a placeholder in place of a report",
  "missing-metadata": "no report_metadata section",
  "missing-policy": "no policy_published section",
  "missing-domain": "no policy domain",
  "bad-date-range": "the date range is missing or unreadable",
  "bad-xml": "XML too damaged to parse",
  "bad-json": "JSON that does not parse or has the wrong shape",
  "bad-count": "a count that is no whole number from 0 to 2^53",
  "bad-feedback": "a feedback report without usable fields",
  "bad-dsn": "a delivery status notification without usable fields",
  "no-report": "nothing in it is a report",
  "auto-reply": "an automatic reply",
  conflict: "the key of a stored report with other content",
  duplicate: "a copy of a stored report",
  unauthenticated: "the report mail is not authenticated and the policy says reject",
  "wrong-kind": "a kind of report that the recipient address does not accept",
  timeout: "parsing took too long",
  oom: "parsing took too much memory",
  internal: "parsing failed by an error of ours",
} as const;
export type Reason = keyof typeof REASONS;

/** Parse warnings: what was repaired or is unusual in a report that was parsed. One code per tolerance rule. */
export const WARNINGS = {
  // containers
  "mislabeled-content": "the label says another type than the content",
  "gzip-trailing-garbage": "bytes after the end of the gzip stream",
  "gzip-bad-checksum": "gzip checksum or length wrong, content complete",
  "gzip-members": "several gzip members",
  "gzip-nested": "compressed more than once",
  "container-truncated": "the container ends early; the complete part was read",
  "mime-repaired": "MIME structure repaired (missing boundary, bad encoding)",
  "html-escaped": "the report was found inside HTML text",
  forwarded: "the report came inside a forwarded message",
  // XML text
  "leading-text": "bytes before the XML declaration or root",
  "trailing-text": "text after the end of the root element",
  "encoding-repaired": "the declared encoding is wrong, unknown or missing; another was used",
  "control-characters": "control characters were dropped",
  "xml-repaired": "XML that is not well-formed was repaired",
  "xml-truncated": "the XML ends early; complete records were kept",
  "unknown-namespace": "a namespace that no known schema has",
  "tag-case": "element names in another case",
  "unknown-element": "an element that no known schema has was skipped",
  "field-cut": "a field longer than allowed was cut",
  // metadata
  "org-missing": "organisation name missing; taken from the address",
  "report-id-missing": "report id missing; taken from the mail or made from the content",
  "report-id-cleaned": "the report id had surrounding marks",
  "email-repaired": "the contact address was repaired",
  "date-format": "dates in another form than epoch seconds",
  "date-from-name": "dates taken from the file name or Subject",
  "date-equal": "begin and end are equal",
  "date-reversed": "end before begin; swapped",
  "long-span": "the range is longer than 25 hours",
  "span-too-long": "the range is longer than 400 days",
  "future-range": "the range lies in the future",
  // policy
  "policy-repeated": "several policy_published sections; the first was used",
  "policy-value": "a published policy value was normalised",
  "domain-repaired": "a domain was normalised",
  // records
  "no-records": "the report has no records",
  "row-dropped": "a record could not be used and was dropped",
  "count-format": "a count in another form than a whole number",
  "count-zero": "a record with count 0",
  "ip-repaired": "a source address was normalised",
  "policy-evaluated-missing": "a record without policy_evaluated; results unknown",
  "evaluation-unknown": "an evaluated result that is neither pass nor fail; taken as unknown",
  "disposition-unknown": "a disposition that no schema has",
  "identifiers-alias": "identities in place of identifiers",
  "identifiers-missing": "a record without identifiers; header_from is the policy domain",
  "identifier-address": "an address where a domain belongs; its domain was used",
  "auth-results-missing": "a record without auth_results",
  "auth-result-unknown": "an authentication result word was normalised",
  "auth-domain-missing": "an authentication result without a domain",
  "reason-unknown": "an override reason was normalised",
  // TLS
  "contact-missing": "contact-info missing",
  "contact-format": "contact-info is not one string",
  "key-alias": "a member has another name than in RFC 8460",
  "json-shape": "a value has another JSON type than in RFC 8460",
  "json-repeated-key": "a repeated member; the last one counts",
  "no-policies": "the report has no policies",
  "policy-domain-missing": "policy-domain missing; taken from elsewhere or null",
  "policy-type-unknown": "a policy type that no schema has",
  "summary-missing": "no summary; counts come from the details",
  "sum-differs": "the failure details do not add up to the summary",
  "result-type-unknown": "a result type that the registry does not have",
  "date-no-zone": "a date without a zone; read as UTC",
  // failure, ARF
  "no-feedback-part": "no machine-readable part; read from text",
  "feedback-type-missing": "Feedback-Type missing",
  "feedback-type-unknown": "an unknown Feedback-Type",
  "field-missing": "a required field is missing",
  "field-unknown-value": "a field with a value that no standard has",
  "sample-missing": "no copy of the message",
  "domain-from-sample": "Reported-Domain missing; taken from the message copy",
  "date-missing": "no date in the report; the mail's Date was used",
  "dates-conflict": "Received-Date and Arrival-Date both present",
  "feedback-encoded": "the feedback part is encoded or in another container",
  // DSN
  "bounce-unstructured": "a bounce without machine-readable part; its fields are a best guess",
  "status-missing": "Status missing; taken from Diagnostic-Code",
  "dsn-repaired": "delivery-status fields repaired",
} as const;
export type Warning = keyof typeof WARNINGS;

/**
 * Warnings that are only notes: nothing was repaired or guessed that could change what the report says. A report with
 * no other ones is `imported`.
 */
export const NOTES: ReadonlySet<Warning> = new Set<Warning>([
  "mislabeled-content",
  "forwarded",
  "unknown-element",
  "email-repaired",
  "long-span",
  "domain-repaired",
  "identifiers-alias",
  "contact-missing",
  "field-unknown-value",
]);

/** A warning with how often it came and the first place. */
export interface WarningCount {
  readonly code: Warning;
  readonly count: number;
  /** The first occurrence: a value or place, outside text. */
  readonly detail: string | null;
}

/** The warnings of several lists as one, in their order. */
export function joinWarnings(...lists: readonly (WarningList | undefined)[]): WarningCount[] {
  const joined = new WarningList();
  for (const list of lists) if (list) joined.merge(list);
  return joined.list();
}

/** Collects warnings by code, bounded by the catalogue's size. */
export class WarningList {
  readonly #byCode = new Map<Warning, { count: number; detail: string | null }>();

  add(code: Warning, detail: string | null = null): void {
    const seen = this.#byCode.get(code);
    if (seen) seen.count++;
    else this.#byCode.set(code, { count: 1, detail: detail === null ? null : detail.slice(0, 200) });
  }

  /** Forgets a code. */
  drop(code: Warning): void {
    this.#byCode.delete(code);
  }

  has(code: Warning): boolean {
    return this.#byCode.has(code);
  }

  get size(): number {
    return this.#byCode.size;
  }

  merge(other: WarningList): void {
    for (const w of other.list()) {
      const seen = this.#byCode.get(w.code);
      if (seen) seen.count += w.count;
      else this.#byCode.set(w.code, { count: w.count, detail: w.detail });
    }
  }

  /** In the order of the first occurrence. */
  list(): WarningCount[] {
    return [...this.#byCode].map(([code, { count, detail }]) => ({ code, count, detail }));
  }
}
