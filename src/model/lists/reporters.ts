/** Reporting organisations, and the parse warnings of their reports. */
import { number, objects, text, time } from "./field.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList, PLACE } from "./list.ts";
import { WARNING_FIELDS } from "./report-fields.ts";

const { kind, domain, org, since, until, warning } = ARCHIVE_FILTERS;

export const REPORTERS = defineList({
  name: "reporters",
  help: "reporting organisations, and the parse warnings of their reports",
  store: "archive",
  reading: "whole",
  order: "most reports first",
  cursor: PLACE,
  fields: {
    org_name: text("reporting organisation"),
    reports: number("reports"),
    repaired: number("reports with parse warnings"),
    messages: number("messages of its reports"),
    last_at: time("when its last report was received"),
    warnings: objects(
      {
        code: WARNING_FIELDS.code,
        reports: number("reports with this parse warning"),
        count: WARNING_FIELDS.count,
        detail: WARNING_FIELDS.detail,
      },
      "parse warnings, most frequent first",
    ),
  },
  filters: { kind, domain, org, since, until, warning },
  columns: [
    { title: "ORGANISATION", field: "org_name", cut: 16 },
    { title: "REPORTS", field: "reports" },
    { title: "WITH WARNINGS", field: "repaired", form: "share", of: "reports", drop: 2 },
    { title: "MESSAGES", field: "messages" },
    { title: "LAST", field: "last_at" },
    {
      title: "PARSE WARNINGS",
      cut: 20,
      drop: 3,
      text: (r) => r.warnings.map((w) => `${w.code}=${w.count}`).join(","),
    },
  ],
  commands: [{ words: ["show", "reporters"] }],
});
