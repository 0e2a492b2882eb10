/** Errors of the operating system as errors of the catalogue. */
import { type ErrorCode, errorText, MailreportError } from "../lib/errors.ts";

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "store.full",
  EDQUOT: "store.full",
  EIO: "store.io",
  SQLITE_FULL: "store.full",
  SQLITE_IOERR: "store.io",
  SQLITE_CANTOPEN: "store.io",
  EACCES: "daemon.no_permission",
  EPERM: "daemon.no_permission",
  EADDRINUSE: "daemon.port_in_use",
};

/** The errno of a failed system call, the primary code of SQLite, or that of the cause of an error of ours. */
function errnoOf(error: unknown): string | undefined {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  if (!(error instanceof MailreportError)) {
    const isSqlite = code?.startsWith("SQLITE_") === true;
    return isSqlite ? /^SQLITE_[A-Z]+/.exec(code)?.[0] : syscall === undefined ? undefined : code;
  }
  return error.code === "daemon.state_unusable" || error.code === "store.io"
    ? errnoOf(error.cause)
    : undefined;
}

/**
 * A failed system call as `store.full`, `store.io`, `daemon.no_permission`, `daemon.port_in_use` or
 * `daemon.state_unusable`; any other error as it is.
 */
export function systemError(error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === undefined) return error;
  const code = CODES[errno];
  if (error instanceof MailreportError) {
    return code === undefined
      ? error
      : new MailreportError(code, { detail: error.detail ?? "", cause: error });
  }
  return new MailreportError(code ?? "daemon.state_unusable", { detail: errorText(error), cause: error });
}

const PASSES: ReadonlySet<ErrorCode> = new Set([
  "store.full",
  "store.io",
  "store.busy",
  "ingest.unavailable",
]);

/** True for an error of a disk or a lock, which passes without a change of the configuration. */
export function passes(error: unknown): error is MailreportError {
  return error instanceof MailreportError && PASSES.has(error.code);
}
