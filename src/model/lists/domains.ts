/** Figures by policy domain. */
import { number, orNull, text, time } from "./field.ts";
import { VERDICT_FIELDS } from "./figure-fields.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList, PLACE } from "./list.ts";

const { domain, org, since, until } = ARCHIVE_FILTERS;

export const DOMAINS = defineList({
  name: "domains",
  help: "figures by policy domain",
  store: "archive",
  reading: "whole",
  order: "most messages first",
  cursor: PLACE,
  fields: {
    domain: text("policy domain"),
    policy: orNull(text("p= of the newest DMARC report")),
    ...VERDICT_FIELDS,
    reports: number("reports"),
    reporters: number("reporting organisations"),
    last_report_at: orNull(time("when the last report was received, whatever the window")),
    tls_sessions: number("sessions of TLS reports"),
    tls_failures: number("failed sessions of TLS reports"),
  },
  filters: { domain, org, since, until },
  columns: [
    { title: "DOMAIN", field: "domain", cut: 30 },
    { title: "POLICY", field: "policy", drop: 3 },
    { title: "MESSAGES", field: "messages" },
    { title: "PASS", field: "pass", form: "share", of: "messages" },
    { title: "FAIL", field: "fail" },
    { title: "UNKNOWN", field: "unknown", drop: 5 },
    { title: "TLS SESSIONS", field: "tls_sessions", drop: 6 },
    { title: "TLS FAIL", field: "tls_failures", drop: 4 },
    { title: "REPORTERS", field: "reporters", drop: 7 },
    { title: "LAST REPORT", field: "last_report_at", drop: 2 },
  ],
  commands: [{ words: ["show", "domains"] }],
});
