/** The periodic jobs of the daemon. */
import { formatDuration } from "../../lib/units.ts";
import { JOB_RESULTS, JOB_STATES } from "../jobs.ts";
import { counts, number, object, orNull, text, time, word } from "./field.ts";
import { defineList, PLACE } from "./list.ts";

/** A run of a job; the answer to running one has it too. */
export const JOB_RUN_FIELDS = {
  begun_at: time("when it began"),
  ended_at: orNull(time("when it ended; null while it runs, or when the process ended in its middle")),
  took_ms: orNull(number("how long it took, milliseconds")),
  result: orNull(word(JOB_RESULTS, "how it ended")),
  who: text("who asked for it; `schedule` for a periodic run"),
  error: orNull(object({ code: text("its code"), message: text("what happened") }, "of a run that failed")),
  detail: orNull(counts("what was done, in counts")),
} as const;

/** Milliseconds as people read them. */
export const took = (ms: number | null): string =>
  ms === null ? "-" : ms < 1000 ? `${ms}ms` : formatDuration(ms);

const errorOf = (error: { readonly code: string; readonly message: string } | null): string =>
  error === null ? "" : `${error.code}: ${error.message}`;

export const JOBS = defineList({
  name: "jobs",
  help: "periodic jobs: what they do now, their last run and the next one",
  store: "daemon",
  reading: "whole",
  order: "in the order of their registration",
  cursor: PLACE,
  fields: {
    name: text("name of the job"),
    about: text("what it does"),
    schedule: text("when it runs, in words; `off` when it is switched off"),
    state: word(JOB_STATES, "what it does now"),
    last_at: orNull(time("when the last run began")),
    last: orNull(object(JOB_RUN_FIELDS, "the last run, or the one in work")),
    next_at: orNull(time("when it runs next; null while it runs or is switched off")),
    runs: number("runs so far"),
    failures: number("of these, runs that failed"),
  },
  filters: {},
  columns: [
    { title: "NAME", field: "name" },
    { title: "STATE", field: "state" },
    { title: "LAST", field: "last_at" },
    {
      title: "TOOK",
      text: ({ last }) => took(last?.took_ms ?? null),
      plain: ({ last }) => String(last?.took_ms ?? ""),
      drop: 1,
    },
    { title: "RESULT", text: ({ last }) => last?.result ?? "-" },
    { title: "NEXT", field: "next_at" },
    { title: "SCHEDULE", field: "schedule", drop: 2 },
    { title: "ERROR", text: ({ last }) => errorOf(last?.error ?? null), cut: 20 },
  ],
  commands: [{ words: ["show", "jobs"] }],
});
