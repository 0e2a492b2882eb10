/** The log as a subscriber of the events: the line of each event, with its level and fields. */
import type { Clock } from "../lib/clock.ts";
import type { Log, LogEvent, LogFields, LogLevel } from "../lib/log/log.ts";
import type { DaemonEvents, EventFields, EventName } from "../model/events.ts";

/** Between two lines about mail that is deferred by the same error of ours. */
const QUIET_MS = 60_000;

interface Line {
  readonly level: LogLevel;
  readonly fields: LogFields;
}

/** What the log says of an event; null: it has no line of its own. */
type LineOf<N extends EventName> = (fields: EventFields[N]) => Line | null;

/** The line of an event with some of its fields. One that is null because nothing follows is left out: `next`. */
const line =
  <F extends object>(level: LogLevel, ...names: readonly (keyof F & string)[]) =>
  (fields: F): Line => ({
    level,
    fields: Object.fromEntries(
      names
        .filter((name) => name !== "next" || fields[name] !== null)
        .map((name): [string, unknown] => [name, fields[name]]),
    ),
  });

const ENVELOPE = [
  "id",
  "outgoing",
  "rcpt",
  "host",
  "tls",
  "code",
  "reply",
  "attempts",
  "ms",
  "next",
] as const satisfies readonly (keyof EventFields["envelope.delivered"])[];

const LINES: { readonly [N in EventName]: LineOf<N> } = {
  "daemon.ready": line("info", "smtp", "control"),
  "daemon.stopping": line("info", "who"),
  "mail.accepted": line(
    "info",
    ...(["id", "from", "remote", "tls", "size", "outcome", "reason", "auth", "domain"] as const),
  ),
  "mail.parsed": line("info", "id", "outcome", "reason"),
  "mail.refused": ({ from, remote, rcpt, reply, reason }) =>
    rcpt === null
      ? { level: "warn", fields: { remote, from, reply, reason } }
      : { level: "info", fields: { rcpt, remote, reply } },
  "mail.deferred": ({ from, remote, code, reply, reason }) => {
    if (code === "daemon.bug") return null; // unit.failed has its stack
    if (code === null) return { level: "warn", fields: { from, remote, reason, reply } };
    return { level: "error", fields: { from, remote, code, error: reason } };
  },
  "report.stored": line(
    "info",
    ...(["id", "mail", "kind", "org", "report_id", "domain", "records", "messages"] as const),
  ),
  "report.duplicate": line("info", "mail", "kind", "org", "report_id", "domain", "conflict"),
  "report.invalid": line("warn", "mail", "kind", "reason", "detail"),
  "ingest.started": line("info", "pid"),
  "ingest.died": line("warn", "pid", "why", "during"),
  "ingest.quarantined": line("error", "mail", "reason"),
  "feed.listening": line("info", "feed", "path"),
  "feed.batch": line("debug", "feed", "accepted", "repeated", "rejected"),
  "feed.rejected": line("warn", "feed", "rejected", "line", "reason"),
  "feed.lost": line("warn", "feed", "what", "error"),
  "outgoing.opened": line("info", "id"),
  "outgoing.composed": line("info", "id", "message", "report_id", "rcpt", "size"),
  "outgoing.dropped": line("info", "id", "reason", "messages"),
  "outgoing.deferred": ({ id, cause, reason, next }) => ({
    level: cause === "composing" ? "error" : "warn",
    fields: { id, reason, next },
  }),
  "outgoing.undeleted": line("info", "id", "due", "messages", "merged"),
  "envelope.delivered": line("info", ...ENVELOPE),
  "envelope.deferred": line("info", ...ENVELOPE),
  "envelope.failed": line("warn", ...ENVELOPE),
  "envelope.expired": line("warn", ...ENVELOPE),
  "envelope.bounced": line("info", "id", "rcpt", "action", "status", "diagnostic"),
  "suppression.added": line("warn", "target", "until", "reason"),
  "control.changed": ({ command, who, detail }) => ({ level: "info", fields: { command, who, ...detail } }),
  // a job that ran by its schedule is in `show jobs`
  "job.finished": (fields) => ({ level: fields.who === "schedule" ? "debug" : "info", fields }),
  "job.failed": () => null, // unit.failed is its line
  "store.problem": ({ level, what, code, error, process = {} }) => ({
    level,
    fields: { what, code, ...process, error },
  }),
  "store.available": line("info"),
};

/** Writes the line of each event to the log, under the name of the event. Returns what ends that. */
export function logEvents(events: DaemonEvents, log: Log, clock: Clock): () => void {
  const isNews = quietly(clock);
  return events.subscribe("log", "all", ({ name, fields }) => {
    const made = (LINES[name] as LineOf<EventName>)(fields);
    if (made === null) return;
    const more = name === "mail.deferred" && fields.code !== null ? isNews(fields.code) : {};
    if (more) log[made.level](name as LogEvent, { ...made.fields, ...more });
  });
}

/**
 * One line a minute for each code, with the number of mails since the line before: a full disk is the same news for
 * each mail. Returns further fields of the line; null: there is none now.
 */
function quietly(clock: Clock): (code: string) => LogFields | null {
  const quiet = new Map<string, { readonly until: number; mails: number }>();
  return (code) => {
    const now = clock.monotonic();
    const known = quiet.get(code);
    if (known && now < known.until) {
      known.mails++;
      return null;
    }
    quiet.set(code, { until: now + QUIET_MS, mails: 0 });
    return known && known.mails > 0 ? { not_logged: known.mails } : {};
  };
}
