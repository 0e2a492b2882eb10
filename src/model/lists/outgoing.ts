/** Outgoing reports. */
import { DROP_REASONS, type DropReason, OUTGOING_STATES } from "../outgoing.ts";
import { flag, number, orNull, text, texts, time, word } from "./field.ts";
import { QUEUE_FILTERS } from "./filter.ts";
import { defineList } from "./list.ts";

const { kindOrFormat, domain, outgoingState } = QUEUE_FILTERS;

/** The state, and why it was dropped, or that composing it fails. */
function stateText(report: {
  readonly state: string;
  readonly reason: string | null;
  readonly failures: number;
}): string {
  const { state, reason, failures } = report;
  if (reason) return `${state} (${reason})`;
  return failures > 0 && state !== "composed" ? `${state} (failed)` : state;
}

export const OUTGOING = defineList({
  name: "outgoing",
  help: "outgoing reports: those that are to be sent",
  store: "queue",
  reading: "pages",
  order: "in the order in which they were opened",
  cursor: /^\d{1,15}$/,
  fields: {
    id: text("id of the outgoing report"),
    kind: word(["dmarc", "tls"], "kind of report"),
    domain: text("policy domain"),
    begin: time("first second that it covers"),
    end: time("last second that it covers"),
    due: time("when it is composed"),
    state: word(OUTGOING_STATES, "state"),
    reason: orNull(word(Object.keys(DROP_REASONS) as DropReason[], "why it was dropped")),
    rows: number("tallies"),
    messages: number("messages; tls: sessions"),
    reportable: number("messages or sessions of evaluations that are not optional"),
    late: number("events that came after the end of their period"),
    error: orNull(text("what DNS answered, or why composing failed")),
    failures: number("compositions that failed since the last success"),
    restorable: flag("whether it was dropped and can be brought back"),
    created_at: time("when it was opened"),
    dropped_at: orNull(time("when it was dropped")),
    composed_at: orNull(time("when it was composed")),
    message_ids: texts("ids of its messages"),
  },
  filters: { kind: kindOrFormat, domain, state: outgoingState },
  columns: [
    { title: "ID", field: "id" },
    { title: "DOMAIN", field: "domain", cut: 16, drop: 9 },
    { title: "KIND", field: "kind", drop: 8 },
    { title: "FROM", field: "begin", form: "day", drop: 5 },
    { title: "TO", field: "end", form: "day", drop: 6 },
    { title: "DUE", field: "due", drop: 1 },
    { title: "ROWS", field: "rows", drop: 7 },
    { title: "MESSAGES", field: "messages", drop: 4 },
    { title: "STATE", text: stateText },
  ],
  commands: [{ words: ["show", "reports"] }, { words: ["report", "list"] }],
});
