/** Subsystems and destinations that are paused. */
import { SUBSYSTEMS } from "../subsystems.ts";
import { orNull, text, time, word } from "./field.ts";
import { QUEUE_FILTERS } from "./filter.ts";
import { defineList, PLACE } from "./list.ts";

const { subsystem } = QUEUE_FILTERS;

export const PAUSES = defineList({
  name: "pauses",
  help: "subsystems and destinations that are paused, and why",
  store: "queue",
  reading: "whole",
  order: "by subsystem and destination",
  cursor: PLACE,
  fields: {
    subsystem: word(SUBSYSTEMS, "what is paused"),
    destination: orNull(text("paused destination; null: the whole subsystem")),
    since: time("when it was paused"),
    who: text("who paused it"),
    reason: orNull(text("why it was paused")),
  },
  filters: { subsystem },
  columns: [
    { title: "SUBSYSTEM", field: "subsystem" },
    { title: "DESTINATION", field: "destination" },
    { title: "SINCE", field: "since" },
    { title: "WHO", field: "who", drop: 1 },
    { title: "REASON", field: "reason", cut: 20 },
  ],
  commands: [{ words: ["show", "pauses"] }],
});
