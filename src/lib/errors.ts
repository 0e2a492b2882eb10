/**
 * The catalogue of error codes: one list for logs, the control protocol, exit codes and the manual.
 * A code is API: it is never renamed once released.
 */
export const ERROR_CODES = {
  // configuration
  "config.invalid": { exit: 78, http: 422, text: "the configuration has mistakes" },
  "config.unreadable": { exit: 66, http: 422, text: "the configuration file cannot be read" },
  // life
  "daemon.already_running": {
    exit: 69,
    http: 503,
    text: "another daemon uses this state directory or control socket",
  },
  "daemon.port_in_use": { exit: 69, http: 503, text: "an address to listen on is already in use" },
  "daemon.cannot_listen": { exit: 69, http: 503, text: "an address cannot be listened on" },
  "daemon.no_permission": { exit: 77, http: 403, text: "not permitted by the operating system" },
  "daemon.state_unusable": { exit: 73, http: 503, text: "the state directory cannot be used" },
  "daemon.root_refused": { exit: 77, http: 403, text: "refusing to run as root" },
  "daemon.starting": { exit: 75, http: 503, text: "the daemon is starting" },
  "daemon.stopping": { exit: 75, http: 503, text: "the daemon is stopping" },
  "log.unwritable": { exit: 73, http: 503, text: "the log file cannot be opened" },
  "daemon.bug": { exit: 70, http: 500, text: "an unexpected error; this is a bug" },
  // storage
  "store.busy": { exit: 75, http: 503, text: "the database is locked by another process" },
  "store.full": { exit: 74, http: 503, text: "no space left for the database" },
  "store.io": { exit: 74, http: 503, text: "the database cannot be read or written" },
  "store.corrupt": { exit: 74, http: 503, text: "the database is damaged" },
  "store.newer_schema": { exit: 78, http: 503, text: "the database was written by a newer version" },
  "backup.running": { exit: 75, http: 409, text: "another backup is being made" },
  "store.not_durable": { exit: 74, http: 503, text: "the database does not sync its commits to disk" },
  // ingest
  "ingest.unavailable": { exit: 75, http: 503, text: "the ingest process is not available" },
  "ingest.busy": { exit: 75, http: 503, text: "too many mails wait for the ingest process" },
  // control protocol
  "request.invalid": { exit: 64, http: 400, text: "the request is not valid" },
  "request.too_large": { exit: 65, http: 413, text: "the request body is too large" },
  "request.unknown_route": { exit: 76, http: 404, text: "this daemon does not know that request" },
  "request.version": {
    exit: 76,
    http: 426,
    text: "the client and the daemon speak different protocol versions",
  },
  "request.refused": { exit: 77, http: 403, text: "this request is not allowed" },
  "queue.no_such_envelope": { exit: 1, http: 404, text: "no such envelope" },
  "queue.no_such_message": { exit: 1, http: 404, text: "no such message" },
  "suppression.bad_target": {
    exit: 64,
    http: 400,
    text: "not an address, @domain, domain or https URI",
  },
  "suppression.none": { exit: 1, http: 404, text: "not suppressed" },
  "outgoing.no_such_report": { exit: 1, http: 404, text: "no such outgoing report" },
  "outgoing.not_open": { exit: 1, http: 409, text: "the outgoing report is not open" },
  "outgoing.composing": { exit: 75, http: 409, text: "the outgoing report is being composed" },
  "outgoing.changed": { exit: 75, http: 503, text: "the outgoing report changed while it was composed" },
  "outgoing.not_dropped": { exit: 1, http: 409, text: "the outgoing report was not dropped" },
  "outgoing.not_kept": {
    exit: 1,
    http: 409,
    text: "the tallies of the dropped report are not kept any more",
  },
  "outgoing.nothing_to_send": { exit: 1, http: 409, text: "there is nothing to send" },
  "archive.no_such_report": { exit: 1, http: 404, text: "no such report" },
  "archive.no_such_mail": { exit: 1, http: 404, text: "no such mail" },
  "archive.busy": { exit: 75, http: 503, text: "too many questions wait for the archive" },
  "archive.deadline": { exit: 75, http: 503, text: "the archive did not answer in time" },
  "archive.cancelled": { exit: 75, http: 499, text: "the question was cancelled by the client" },
  "archive.no_raw": { exit: 1, http: 404, text: "the bytes of this mail are not kept" },
  "feed.unknown": { exit: 64, http: 404, text: "no such feed" },
  // jobs
  "job.unknown": { exit: 64, http: 404, text: "no such job" },
  "job.running": { exit: 75, http: 409, text: "the job is running" },
  "job.no_dry_run": { exit: 64, http: 400, text: "the job cannot tell what it would do" },
  // composing
  "compose.readback_differs": {
    exit: 70,
    http: 500,
    text: "a composed report does not read back as what went in",
  },
  "compose.died": { exit: 70, http: 500, text: "the thread that composes reports ended" },
  "dkim.key_unusable": { exit: 78, http: 422, text: "a DKIM key cannot be used" },
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorOptionsEx {
  /** What and where, for a person; never contains unescaped outside text. */
  readonly detail?: string;
  /** True when trying again later may succeed. */
  readonly temporary?: boolean;
  readonly cause?: unknown;
}

/** The one error class of the project. Expected outcomes are values; this is for what a caller cannot answer. */
export class MailreportError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly temporary: boolean;

  constructor(code: ErrorCode, options: ErrorOptionsEx = {}) {
    super(
      options.detail ? `${ERROR_CODES[code].text}: ${options.detail}` : ERROR_CODES[code].text,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = "MailreportError";
    this.code = code;
    this.detail = options.detail;
    this.temporary = options.temporary ?? (ERROR_CODES[code].http === 503 && code !== "store.corrupt");
  }

  /** The sysexits code a program ends with when this error ends it. */
  get exitCode(): number {
    return ERROR_CODES[this.code].exit;
  }

  /** The HTTP status of the control protocol. */
  get httpStatus(): number {
    return ERROR_CODES[this.code].http;
  }
}

/** Text of any thrown value, cut to 500 characters. */
export function errorText(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}
