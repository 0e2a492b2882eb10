/** Figures by UTC day. */
import { day } from "./field.ts";
import { VERDICT_FIELDS } from "./figure-fields.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList, PLACE } from "./list.ts";

const { domain, org, result, since, until } = ARCHIVE_FILTERS;

export const DAYS = defineList({
  name: "days",
  help: "figures by day; reports of several days are spread over them",
  store: "archive",
  reading: "whole",
  order: "by day",
  cursor: PLACE,
  fields: { day: day("UTC day"), ...VERDICT_FIELDS },
  filters: { domain, org, result, since, until },
  columns: [
    { title: "DAY", field: "day" },
    { title: "MESSAGES", field: "messages" },
    { title: "PASS", field: "pass", form: "share", of: "messages" },
    { title: "FAIL", field: "fail" },
    { title: "UNKNOWN", field: "unknown" },
  ],
  commands: [{ words: ["show", "days"], operand: { name: "[DOMAIN]", filter: "domain" } }],
});
