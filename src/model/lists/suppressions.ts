/** Addresses and domains that no report is sent to. */
import { number, orNull, text, time, word } from "./field.ts";
import { QUEUE_FILTERS } from "./filter.ts";
import { defineList, PLACE } from "./list.ts";

const { all } = QUEUE_FILTERS;

export const SUPPRESSIONS = defineList({
  name: "suppressions",
  help: "addresses and domains that no report is sent to",
  store: "queue",
  reading: "whole",
  order: "by target",
  cursor: PLACE,
  fields: {
    target: text("address, @domain, domain or https URI"),
    until: orNull(time("when it ends")),
    author: word(["operator", "automatic"], "who added it"),
    reason: text("why it was added"),
    created_at: time("when it was added"),
    step: number("automatic suppressions in a row before this one"),
  },
  filters: { all },
  columns: [
    { title: "TARGET", field: "target" },
    { title: "UNTIL", field: "until", none: "no end" },
    { title: "AUTHOR", field: "author", drop: 1 },
    { title: "REASON", field: "reason", cut: 20 },
    { title: "SINCE", field: "created_at", drop: 2 },
  ],
  commands: [{ words: ["show", "suppressions"] }, { words: ["suppress", "list"] }],
});
