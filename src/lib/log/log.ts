/**
 * The catalogue of log events. Every line the daemon writes has one of these names as `event`, so that logs, the
 * manual and alerting agree. `info`: one line per outcome; `warn`: an error of others; `error`: the operator must act.
 */
export const LOG_EVENTS = {
  "daemon.starting": "the daemon starts (version, pid, configuration file, state directory)",
  "daemon.ready": "everything listens",
  "daemon.hint": "what to try next, in try-out mode",
  "daemon.status": "the state of each subsystem, asked for by SIGUSR2",
  "daemon.reloaded": "the configuration was loaded again and applied",
  "daemon.reload_refused":
    "the new configuration cannot be used (problems); the old one stays in force as a whole",
  "daemon.stopping": "the daemon drains and stops",
  "daemon.stopped": "the daemon has stopped",
  "daemon.bug": "an unexpected error ends the daemon",
  "unit.failed":
    "a unit of work failed and was settled (unit, code, error; the stack where it is a bug); the next one runs",
  "smtp.listening": "an SMTP or LMTP listener is open",
  "smtp.refused": "a connection or command was refused (address, reason)",
  "smtp.error": "a session ended by an error of the peer or network",
  "mail.accepted": "a mail got its 250: committed, with its outcome, or `spooled` when it is parsed later",
  "mail.parsed": "a mail that had been stored before was parsed (outcome, reason)",
  "mail.refused": "a mail was refused in the dialog (reply, reason)",
  "mail.unverifiable":
    "the authentication of a mail failed by an error of ours (the stack); its verdict is temperror",
  "mail.deferred":
    "a mail got a 4xx reply by a fault of ours (code, error); one line a minute for each code (not_logged: mails since)",
  "report.stored": "a report was parsed and stored",
  "report.duplicate": "a report was stored before",
  "report.invalid": "a mail or a part of it contains an unusable report (reason)",
  "ingest.started": "the ingest process runs",
  "ingest.died": "the ingest process ended unexpectedly and is started again",
  "ingest.quarantined": "a mail killed or hung the ingest process and is kept raw",
  "feed.batch": "evaluations or sessions were counted",
  "feed.rejected": "a line of a feed was rejected (line, reason)",
  "feed.listening": "a feed socket is open",
  "feed.lost":
    "a connection or socket of a feed ended with an error; what was not acknowledged was not counted",
  "outgoing.opened": "an outgoing report was opened",
  "outgoing.composed": "an outgoing report became a message",
  "outgoing.dropped": "an outgoing report will not be sent (reason)",
  "outgoing.deferred": "an outgoing report waits: DNS, or composing failed (reason, next try)",
  "outgoing.undeleted":
    "a dropped outgoing report was brought back (due, messages, merged: a report that became a part of it)",
  "envelope.delivered": "an envelope was delivered",
  "envelope.deferred": "an attempt failed for now (reply, next try)",
  "envelope.failed": "an envelope failed for good (reply)",
  "envelope.expired": "an envelope has expired",
  "envelope.bounced": "a delivery status notification for an envelope was received",
  "suppression.added": "an address was suppressed after a reply or a bounce (target, until, reason)",
  "deliver.problem":
    "delivery has a problem: the store cannot commit, a password file cannot be read, the relay refuses the login (reason)",
  "deliver.resumed": "the store commits again; delivery resumes",
  "control.listening": "the control socket is open",
  "control.changed": "something was changed on request (command, who, reason, and what was changed)",
  "job.finished": "a job has finished (job, who, result, detail)",
  "dkim.key_generated": "a DKIM key was generated; the DNS record to publish",
  "retention.done": "old data was deleted",
  "store.opened": "a database is open (path, synchronous, schema)",
  "store.migrating":
    "the schema of a database is brought up to date, which may take minutes (path, from, to)",
  "store.problem": "a database operation failed, or the start waits for one (code, error)",
  "store.available": "the databases can be used after a start that had to wait",
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

/** Discards everything; for tests and tools without a log. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};
