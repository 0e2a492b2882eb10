/**
 * The error boundary of a unit of work: a delivery attempt, a composition, an imported item, a feed batch, a control
 * request, a job, a reload. A unit that fails is settled and logged; the next one runs. Only a broken invariant of a
 * store ends the process.
 */
import { errorText, MailreportError } from "./errors.ts";
import type { Log, LogFields } from "./log/log.ts";

/** Why a unit failed. */
export interface Failure {
  /** The error; one that is not in the catalogue becomes `daemon.bug` with the thrown value as its cause. */
  readonly error: MailreportError;
  /** True for an error that nobody expects: the log line carries its stack. */
  readonly bug: boolean;
}

export type Supervised<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: Failure };

export interface Unit {
  readonly log: Log;
  /** What it is, for the log: `delivery`, `composition`, `import`… */
  readonly unit: string;
  /** Which one: ids and names that the log line shows. */
  readonly fields?: LogFields;
}

/** Errors after which nothing that the process holds can be relied on: it ends, and state is on disk. */
const BROKEN_INVARIANT = new Set<MailreportError["code"]>(["store.not_durable"]);

/** Gives a thrown value its place in the catalogue. */
export function failureOf(error: unknown): Failure {
  if (error instanceof MailreportError) return { error, bug: error.code === "daemon.bug" };
  return { error: new MailreportError("daemon.bug", { detail: errorText(error), cause: error }), bug: true };
}

/** Errors that have their log line. */
const LOGGED = new WeakSet<MailreportError>();

/** Whether a unit of work that failed with this error has logged it: a unit around it need not do so again. */
export function isLogged(error: MailreportError): boolean {
  return LOGGED.has(error);
}

/** The stack of what was thrown, beneath the error of the catalogue. */
export function stackOf({ error }: Failure): string | undefined {
  const cause = error.cause instanceof Error ? error.cause : error;
  return cause.stack;
}

/**
 * Runs one unit of work. Never rejects but for a broken invariant of a store, which ends the process. A failure is
 * logged once, as `unit.failed`: a warning when trying again later may succeed, an error otherwise, with the stack
 * where it is a bug. The caller settles the unit by the result.
 */
export async function supervised<T>(
  { log, unit, fields = {} }: Unit,
  work: () => T | Promise<T>,
): Promise<Supervised<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (thrown) {
    const failure = failureOf(thrown);
    if (BROKEN_INVARIANT.has(failure.error.code)) throw thrown;
    logFailure({ log, unit, fields }, failure);
    return { ok: false, failure };
  }
}

/** The log line of a failed unit, for those that cannot be run by `supervised`. */
export function logFailure({ log, unit, fields = {} }: Unit, failure: Failure): void {
  const { error, bug } = failure;
  LOGGED.add(error);
  const line = { unit, ...fields, code: error.code, error: errorText(error) };
  if (bug) log.error("unit.failed", { ...line, stack: stackOf(failure) });
  else if (error.temporary) log.warn("unit.failed", line);
  else log.error("unit.failed", line);
}
