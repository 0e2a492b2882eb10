/** Received reports of all kinds. */
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList } from "./list.ts";
import { authFlags, REPORT_FIELDS } from "./report-fields.ts";

const { kind, domain, org, since, until, warning } = ARCHIVE_FILTERS;

/** Shown by `show received --reports`: `show reports` are the outgoing ones. */
export const REPORTS = defineList({
  name: "reports",
  help: "received reports of all kinds",
  store: "archive",
  reading: "pages",
  order: "newest first",
  cursor: /^r\d{1,15}$/,
  fields: REPORT_FIELDS,
  filters: { kind, domain, org, since, until, warning },
  columns: [
    { title: "REPORT", field: "id" },
    { title: "KIND", field: "kind", drop: 4 },
    { title: "ORGANISATION", field: "org_name", cut: 12 },
    { title: "DOMAIN", field: "policy_domain", cut: 16 },
    { title: "BEGIN", field: "begin", form: "day", drop: 1 },
    { title: "END", field: "end", form: "day", drop: 7 },
    { title: "ROWS", field: "records", drop: 6 },
    { title: "MESSAGES", field: "messages" },
    { title: "PASS", field: "pass_messages" },
    { title: "AUTH", drop: 5, text: authFlags },
    { title: "AUTH DOMAIN", field: "auth_domain", cut: 16, drop: 9 },
    { title: "RECEIVED", field: "received_at", drop: 8 },
  ],
  commands: [],
});
