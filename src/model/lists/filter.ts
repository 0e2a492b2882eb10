/** The filters of lists: the same name means the same everywhere. Query schemas and options derive from them. */
import { OUTCOMES, REASONS, type Reason, WARNINGS, type Warning } from "../outcome.ts";
import { OUTGOING_STATES } from "../outgoing.ts";
import { ENVELOPE_STATES } from "../queue.ts";
import { REPORT_KINDS } from "../report.ts";
import { SUBSYSTEMS } from "../subsystems.ts";

/** How mailreportctl offers a filter. */
export interface FilterOption {
  /** Where it is not the name of the filter. */
  readonly name?: string;
  readonly short?: string;
  /** Other names of the option. */
  readonly aliases?: readonly string[];
  /** Name of the value; none for a flag. */
  readonly value?: string;
}

/** time: epoch seconds; past: a time, of which a span without sign is in the past. T: the value. */
export interface Filter<T = unknown> {
  readonly type: "text" | "time" | "past" | "flag";
  readonly help: string;
  /** All the words that it may be. */
  readonly values?: readonly string[];
  /** Null: it has no option. */
  readonly option: FilterOption | null;
  /** Never set: it carries the type. */
  readonly is?: T;
}

/** In the order of the options. */
export type Filters = Readonly<Record<string, Filter>>;

/** What was asked for; a member that is absent restricts nothing. */
export type FilterValues<F extends Filters> = {
  readonly [K in keyof F]?: F[K] extends Filter<infer T> ? T : never;
};

const text = (help: string, option: FilterOption | null): Filter<string> => ({ type: "text", help, option });
const word = <const V extends readonly string[]>(
  values: V,
  help: string,
  option: FilterOption | null,
): Filter<V[number]> => ({ type: "text", values, help, option });
const flag = (help: string): Filter<boolean> => ({ type: "flag", help, option: {} });

const codesOf = <T extends string>(codes: Readonly<Record<T, unknown>>): readonly T[] =>
  Object.keys(codes) as T[];

const OUTGOING_KINDS = ["dmarc", "tls"] as const;
const outgoingKind = word(OUTGOING_KINDS, "kind of report", { short: "f", value: "dmarc|tls" });

/** The vocabulary of the lists of the archive. Windows [since, until) are half-open. */
export const ARCHIVE_FILTERS = {
  outcome: word(
    [...OUTCOMES, "failed", "spooled"],
    "imported, partial, duplicate, invalid…; failed: all that went wrong; spooled: not parsed yet",
    { value: "OUTCOME", aliases: ["state"] },
  ),
  reason: word(codesOf<Reason>(REASONS), "reason code", { value: "CODE" }),
  kind: word(REPORT_KINDS, "dmarc, tls, failure, arf, dsn", { short: "f", value: "KIND" }),
  domain: text("policy domain", { short: "d", value: "DOMAIN" }),
  org: text("part of the organisation's name", { value: "TEXT" }),
  source: text("source address", { value: "IP" }),
  result: word(["pass", "fail", "unknown"], "DMARC result", { value: "pass|fail|unknown" }),
  warning: word(codesOf<Warning>(WARNINGS), "reports with this warning", { value: "CODE" }),
  since: {
    type: "past",
    help: "from (2026-11-20, 7d or -7d, now, @epoch; UTC)",
    option: { value: "TIME" },
  } as Filter<number>,
  until: { type: "past", help: "before", option: { value: "TIME" } } as Filter<number>,
  all: flag("include reports that the figures leave out"),
  report: text("id of the report, such as r42", null),
} satisfies Filters;

/** The vocabulary of the lists of the queue. */
export const QUEUE_FILTERS = {
  id: text("id of a message or envelope", null),
  kind: outgoingKind,
  /** As Stalwart names the option. */
  kindOrFormat: { ...outgoingKind, option: { ...outgoingKind.option, aliases: ["format"] } },
  domain: text("policy domain", { short: "d", value: "DOMAIN" }),
  domainOrBelow: text("policy domain; *.DOMAIN for those below", { short: "d", value: "DOMAIN" }),
  rcpt: text("recipient, or @DOMAIN", { short: "r", value: "ADDRESS" }),
  sender: text("envelope sender, or @DOMAIN", { short: "s", value: "ADDRESS" }),
  state: word(ENVELOPE_STATES, "pending, inflight, held, delivered, failed, expired, removed", {
    value: "STATE",
  }),
  error: text("part of the last reply", { value: "TEXT" }),
  due_before: {
    type: "time",
    help: "due before",
    option: { name: "before", short: "b", value: "TIME" },
  } as Filter<number>,
  due_after: {
    type: "time",
    help: "due after",
    option: { name: "due-after", short: "a", value: "TIME" },
  } as Filter<number>,
  outgoingState: word(
    ["waiting", ...OUTGOING_STATES, "any"],
    "waiting (open and held), open, held, composed, dropped, any",
    { value: "STATE" },
  ),
  all: flag("include entries that have expired"),
  subsystem: word(SUBSYSTEMS, "smtp, mda, mta, scheduler", { value: "SUBSYSTEM" }),
} satisfies Filters;
