/** Records of received DMARC reports. */
import { flag, map, number, objects, optional, orNull, text, time, word } from "./field.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList } from "./list.ts";
import { AUTH_VERDICTS } from "./report-fields.ts";

const { domain, org, source, result, since, until, report } = ARCHIVE_FILTERS;

const EVALUATED = ["pass", "fail", "unknown"] as const;
const RESULTS = [
  "none",
  "pass",
  "fail",
  "softfail",
  "policy",
  "neutral",
  "temperror",
  "permerror",
  "unknown",
] as const;
const REASONS = [
  "forwarded",
  "sampled_out",
  "trusted_forwarder",
  "mailing_list",
  "local_policy",
  "policy_test_mode",
  "other",
] as const;
const human_result = optional(text("explanation of the reporter"));
const raw = optional(text("what was sent, where that is another word"));

/** The result of one DKIM signature. */
export const DKIM_RESULT = {
  domain: orNull(text("d= of the signature")),
  selector: orNull(text("s= of the signature")),
  result: word(RESULTS, "DKIM result"),
  human_result,
  raw,
};

/** The result of one SPF check. */
export const SPF_RESULT = {
  domain: orNull(text("domain that was checked")),
  scope: orNull(word(["mfrom", "helo"], "which identity was checked")),
  result: word(RESULTS, "SPF result"),
  human_result,
  raw,
};

/** The given values of a result, with slashes between them. */
const together = (...values: readonly (string | null)[]): string => values.filter(Boolean).join("/");

export const RECORDS = defineList({
  name: "records",
  help: "records of received DMARC reports",
  store: "archive",
  reading: "pages",
  order: "by begin of their report, in the order of the report",
  cursor: /^(?:-?\d{1,15}\.\d{1,15}|r)\.-?\d{1,9}$/,
  fields: {
    report: text("id of the report, such as r42"),
    auth: word(AUTH_VERDICTS, "result of message authentication of the report's mail"),
    counted: flag("whether the report is in the figures"),
    org_name: text("reporting organisation"),
    policy_domain: text("policy domain"),
    begin: time("first second that the report covers"),
    end: time("last second that the report covers"),
    source_ip: text("source address"),
    count: number("messages"),
    disposition: word(["none", "pass", "quarantine", "reject", "unknown"], "what the receiver did"),
    dkim: word(EVALUATED, "aligned DKIM result"),
    spf: word(EVALUATED, "aligned SPF result"),
    reasons: objects(
      {
        type: word(REASONS, "override reason"),
        comment: orNull(text("comment of the reporter")),
        lang: optional(text("language of the comment")),
        raw,
      },
      "why the policy was overridden",
    ),
    header_from: text("domain of From"),
    envelope_from: orNull(text("domain of the envelope sender; empty: the null sender")),
    envelope_to: orNull(text("domain of the envelope recipient")),
    dkim_results: objects(DKIM_RESULT, "results of DKIM signatures"),
    spf_results: objects(SPF_RESULT, "results of SPF"),
    extensions: orNull(text("extension elements, as XML")),
    raw: orNull(map("what was sent, by field, where the value was normalised")),
  },
  filters: { domain, org, source, result, since, until, report },
  columns: [
    { title: "REPORT", field: "report" },
    { title: "SOURCE", field: "source_ip" },
    { title: "COUNT", field: "count" },
    { title: "DISPOSITION", field: "disposition" },
    { title: "DKIM", field: "dkim" },
    { title: "SPF", field: "spf" },
    { title: "HEADER FROM", field: "header_from", cut: 14 },
    { title: "ENVELOPE FROM", field: "envelope_from", cut: 16, drop: 8 },
    {
      title: "DKIM RESULTS",
      cut: 20,
      drop: 5,
      text: (r) => r.dkim_results.map((d) => together(d.domain, d.selector, d.result)).join(","),
    },
    {
      title: "SPF RESULTS",
      cut: 20,
      drop: 6,
      text: (r) => r.spf_results.map((s) => together(s.domain, s.result)).join(","),
    },
    { title: "AUTH", drop: 7, text: (r) => (r.counted ? r.auth : `${r.auth},uncounted`) },
  ],
  commands: [{ words: ["show", "records"], operand: { name: "[DOMAIN]", filter: "domain" } }],
});
