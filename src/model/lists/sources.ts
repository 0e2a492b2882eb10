/** Figures by source address. */
import { number, text, time } from "./field.ts";
import { VERDICT_FIELDS } from "./figure-fields.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList, PLACE } from "./list.ts";

const { domain, org, source, result, since, until, all } = ARCHIVE_FILTERS;

export const SOURCES = defineList({
  name: "sources",
  help: "who sends in a domain's name",
  store: "archive",
  reading: "whole",
  order: "most messages first",
  cursor: PLACE,
  fields: {
    source: text("source address"),
    ...VERDICT_FIELDS,
    dkim_pass: number("messages with an aligned DKIM pass"),
    spf_pass: number("messages with an aligned SPF pass"),
    none: number("messages with disposition none or pass"),
    quarantine: number("messages with disposition quarantine"),
    reject: number("messages with disposition reject"),
    first: time("begin of the first report that names it"),
    last: time("end of the last report that names it"),
    domains: number("policy domains that it sent for"),
  },
  filters: { domain, org, source, result, since, until, all },
  columns: [
    { title: "SOURCE", field: "source" },
    { title: "MESSAGES", field: "messages" },
    { title: "PASS", field: "pass", form: "share", of: "messages" },
    { title: "FAIL", field: "fail" },
    { title: "UNKNOWN", field: "unknown", drop: 7 },
    { title: "DKIM", field: "dkim_pass", form: "share", of: "messages", drop: 3 },
    { title: "SPF", field: "spf_pass", form: "share", of: "messages", drop: 4 },
    { title: "QUARANTINED", field: "quarantine", drop: 6 },
    { title: "REJECTED", field: "reject", drop: 5 },
    { title: "FIRST", field: "first", form: "day", drop: 8 },
    { title: "LAST", field: "last", form: "day", drop: 1 },
  ],
  commands: [{ words: ["show", "sources"], operand: { name: "[DOMAIN]", filter: "domain" } }],
});
