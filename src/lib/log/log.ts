/**
 * The catalogue of log events. Every line the daemon writes has one of these names as `event`, so that logs, the
 * manual and alerting agree. One `info` line per fate; `warn`: someone else is wrong; `error`: the operator must act.
 */
export const LOG_EVENTS = {
  "daemon.starting": "the daemon starts (version, pid, configuration file, state directory)",
  "daemon.ready": "everything listens",
  "daemon.hint": "what to try next, in try-out mode",
  "daemon.reloaded": "the configuration was read again and applied",
  "daemon.reload_refused": "the new configuration has mistakes; the old one stays",
  "daemon.stopping": "the daemon drains and stops",
  "daemon.stopped": "the daemon has stopped",
  "daemon.bug": "an unexpected error ends the daemon",
  "unit.failed":
    "a unit of work failed and was settled (unit, code, error; the stack where it is a bug); the next one runs",
  "smtp.listening": "an SMTP or LMTP listener is open",
  "smtp.refused": "a connection or command was refused (address, reason)",
  "smtp.error": "a session ended by an error of the peer or network",
  "mail.accepted": "a mail got its 250: committed, with its outcome, or `spooled` when it is read later",
  "mail.parsed": "a mail that had been stored before was read (outcome, reason)",
  "mail.refused": "a mail was refused in the dialog (reply, reason)",
  "mail.unverifiable": "verifying a mail met an error of ours; it counts as not authenticated",
  "mail.deferred": "a mail got a 4xx reply because of us (reason)",
  "report.stored": "a report was read and stored",
  "report.duplicate": "a report was already there",
  "report.invalid": "a mail or a part of it holds an unusable report (reason)",
  "ingest.started": "the ingest process runs",
  "ingest.died": "the ingest process ended unexpectedly and is started again",
  "ingest.quarantined": "a mail killed or hung the ingest process and is kept raw",
  "feed.batch": "evaluations or sessions were counted",
  "feed.rejected": "a line of a feed was rejected (line, reason)",
  "feed.listening": "a feed socket is open",
  "outgoing.opened": "an outgoing report began",
  "outgoing.composed": "an outgoing report became a message",
  "outgoing.dropped": "an outgoing report will not be sent (reason)",
  "outgoing.deferred": "an outgoing report waits: DNS, or composing failed (reason, next try)",
  "outgoing.undeleted":
    "a dropped outgoing report was brought back (due, messages, merged: a report that became a part of it)",
  "envelope.delivered": "an envelope was delivered",
  "envelope.deferred": "an attempt failed for now (reply, next try)",
  "envelope.failed": "an envelope failed for good (reply)",
  "envelope.expired": "an envelope was given up after its time",
  "envelope.bounced": "a delivery status notification for an envelope came home",
  "suppression.added": "an address is not sent to for some time",
  "deliver.problem": "delivery as a whole has a problem",
  "control.listening": "the control socket is open",
  "control.changed": "an operator changed something (command, selection, matched, changed, reason)",
  "control.error": "a control request failed by an error of ours",
  "dkim.key_generated": "a DKIM key was generated; the DNS record to publish",
  "retention.done": "old data was deleted",
  "store.opened": "a database is open (path, synchronous, schema)",
  "store.problem": "a database operation failed",
} as const;

export type LogEvent = keyof typeof LOG_EVENTS;
export type LogFields = Readonly<Record<string, unknown>>;
export type LogLevel = "debug" | "info" | "warn" | "error";

/** A logger of one subsystem. Outside text in fields is escaped by the sink. */
export interface Log {
  debug(event: LogEvent, fields?: LogFields): void;
  info(event: LogEvent, fields?: LogFields): void;
  warn(event: LogEvent, fields?: LogFields): void;
  error(event: LogEvent, fields?: LogFields): void;
  /** A child that adds `fields` to every line. */
  child(fields: LogFields): Log;
}

/** Swallows everything; for tests and pure tools. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};
