/** Received failure reports (RFC 9991) and abuse reports (RFC 5965), without the reported message. */
import { number, orNull, text, texts, time } from "./field.ts";
import { ARCHIVE_FILTERS, type Filter } from "./filter.ts";
import { defineList } from "./list.ts";
import { authFlags, REPORT_FIELDS, ROW_KEY } from "./report-fields.ts";

const { domain, org, since, until, warning } = ARCHIVE_FILTERS;
const kind: Filter<"failure" | "arf"> = {
  type: "text",
  values: ["failure", "arf"],
  help: "failure reports (default), or reports of abuse",
  option: { short: "f", value: "failure|arf" },
};

export const FAILURES = defineList({
  name: "failures",
  help: "received failure reports: which authentication failed, for whom",
  store: "archive",
  reading: "pages",
  order: "newest first",
  cursor: ROW_KEY,
  fields: {
    ...REPORT_FIELDS,
    feedback_type: text("feedback type as sent"),
    arrival_at: time("when the reported message arrived"),
    source_ip: orNull(text("address that the reported message came from")),
    incidents: number("messages that the report stands for"),
    auth_failure: orNull(text("which authentication failed")),
    identity_alignment: orNull(texts("identities that were aligned")),
    delivery_result: orNull(text("what became of the message, as sent")),
    dkim_domain: orNull(text("d= of the DKIM signature")),
    dkim_selector: orNull(text("s= of the DKIM signature")),
    spf_dns: texts("SPF records that were used"),
    authentication_results: texts("Authentication-Results of the message"),
    reporting_mta: orNull(text("MTA that reports")),
    original_mail_from: orNull(text("envelope sender of the message")),
    original_rcpt_to: texts("envelope recipients of the message"),
    reported_uris: texts("URIs that are reported"),
    sample_from: orNull(text("header field From of the message")),
    sample_to: orNull(text("header field To of the message")),
    sample_subject: orNull(text("header field Subject of the message")),
    sample_message_id: orNull(text("header field Message-ID of the message")),
    sample_date: orNull(text("header field Date of the message, as sent")),
  },
  filters: { kind, domain, org, since, until, warning },
  columns: [
    { title: "REPORT", field: "id" },
    { title: "ARRIVAL", field: "arrival_at", drop: 1 },
    { title: "DOMAIN", field: "policy_domain", cut: 16 },
    { title: "SOURCE", field: "source_ip" },
    { title: "FEEDBACK TYPE", field: "feedback_type" },
    { title: "AUTH FAILURE", field: "auth_failure", drop: 5 },
    { title: "DELIVERY", field: "delivery_result", drop: 6 },
    { title: "MAIL FROM", field: "original_mail_from", cut: 16, drop: 8 },
    { title: "FROM", field: "sample_from", cut: 16, drop: 4 },
    { title: "SUBJECT", field: "sample_subject", cut: 16, drop: 3 },
    { title: "INCIDENTS", field: "incidents", drop: 9 },
    { title: "AUTH", drop: 7, text: authFlags },
    { title: "RECEIVED", field: "received_at", drop: 10 },
  ],
  commands: [{ words: ["show", "failures"], operand: { name: "[DOMAIN]", filter: "domain" } }],
});
