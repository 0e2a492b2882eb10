/**
 * The error boundary of a control request: an error of a handler becomes an answer with a code and, unless the request
 * was wrong, a log line. No request ends the daemon or disturbs another one.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, isLogged, logFailure } from "../lib/supervised.ts";

/** Adds the boundary to a server that has no routes yet. */
export function addBoundary(app: FastifyInstance, log: Log): void {
  app.setNotFoundHandler(() => {
    throw new MailreportError("request.unknown_route");
  });
  app.setErrorHandler((error, request, reply) => {
    const known = toKnown(error);
    note(log, request, known);
    const { code, message, detail, httpStatus } = known;
    return reply.code(httpStatus).send({ error: { code, message, detail, request_id: request.id } });
  });
  // the framework drops errors of handlers that write their answers themselves; those have told the client
  app.addHook("onRoute", (route) => {
    const { handler } = route;
    route.handler = async function (request, reply) {
      try {
        return await handler.call(this, request, reply);
      } catch (error) {
        if (!reply.sent) throw error;
        note(log, request, toKnown(error));
        return reply;
      }
    };
  });
}

/**
 * Logs an error that is not a wrong request: a bug, or a store that is full, locked or damaged. Not again what a unit of work
 * inside (a job, a backup) has logged, and not each question that an overloaded archive refused: its readers log that once.
 */
function note(log: Log, request: FastifyRequest, error: MailreportError): void {
  if (error.httpStatus < 500 || error.code === "archive.busy" || isLogged(error)) return;
  const fields = { method: request.method, url: request.url, request_id: request.id };
  logFailure({ log, unit: "control request", fields }, failureOf(error));
}

/** The error of the catalogue for what a handler or the framework threw. */
function toKnown(error: unknown): MailreportError {
  if (error instanceof MailreportError) return error;
  const { validation, statusCode, message } = (error ?? {}) as {
    validation?: unknown;
    statusCode?: number;
    message?: string;
  };
  if (statusCode === 413) return new MailreportError("request.too_large");
  if (validation !== undefined || (statusCode !== undefined && statusCode < 500))
    return new MailreportError("request.invalid", { detail: (message ?? "").slice(0, 500) });
  return failureOf(error).error;
}
