/** Received TLS reports, policy by policy (RFC 8460). */
import { number, objects, orNull, text, texts } from "./field.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList } from "./list.ts";
import { authFlags, REPORT_FIELDS, ROW_KEY } from "./report-fields.ts";

const { domain, org, since, until, warning } = ARCHIVE_FILTERS;

export const TLS = defineList({
  name: "tls",
  help: "received TLS reports, policy by policy, with failures",
  store: "archive",
  reading: "pages",
  order: "newest report first, its policies in their order",
  cursor: ROW_KEY,
  fields: {
    ...REPORT_FIELDS,
    tls_policy_type: orNull(text("policy type as sent: sts, tlsa, no-policy-found")),
    tls_policy_domain: orNull(text("domain of the policy")),
    tls_policy_strings: texts("policy as the reporter found it, line by line"),
    tls_mx_hosts: texts("MX host patterns of the policy"),
    tls_successes: orNull(number("successful sessions")),
    tls_failures: orNull(number("failed sessions")),
    tls_result_types: objects(
      { result_type: text("result type"), sessions: number("failed sessions") },
      "failed sessions by result type, most first",
    ),
  },
  filters: { domain, org, since, until, warning },
  columns: [
    { title: "REPORT", field: "id" },
    { title: "ORGANISATION", field: "org_name", cut: 12, drop: 1 },
    { title: "DOMAIN", cut: 16, text: (r) => r.tls_policy_domain ?? r.policy_domain ?? "" },
    { title: "POLICY", field: "tls_policy_type", drop: 5 },
    { title: "BEGIN", field: "begin", form: "day", drop: 2 },
    { title: "END", field: "end", form: "day", drop: 7 },
    { title: "OK", field: "tls_successes" },
    { title: "FAILED", field: "tls_failures" },
    {
      title: "RESULT TYPES",
      cut: 20,
      drop: 3,
      text: (r) => r.tls_result_types.map((t) => `${t.result_type}=${t.sessions}`).join(","),
    },
    { title: "AUTH", drop: 6, text: authFlags },
    { title: "RECEIVED", field: "received_at", drop: 8 },
  ],
  commands: [{ words: ["show", "tls"], operand: { name: "[DOMAIN]", filter: "domain" } }],
});
