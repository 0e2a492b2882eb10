/** The control socket: HTTP/1.1 over a Unix stream socket, whose rights are its mode and group. */
import { lstatSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { fastify } from "fastify";
import { serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import type { Config } from "../config/schema.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { setSocketAccess } from "../lib/socket-access.ts";
import { addRoutes } from "./routes/routes.ts";
import type { Services } from "./services.ts";
import { API_HEADER, API_VERSION } from "./wire.ts";

export interface ControlServer {
  /** Closes, and removes the socket if it is still ours. */
  stop(): Promise<void>;
}

const BODY = 65_536;
const HOSTS = new Set(["", "localhost", "mailreportd"]);

/** Opens the control socket. Errors: `daemon.already_running`, `daemon.state_unusable`. */
export async function startControl(config: Config, services: Services, log: Log): Promise<ControlServer> {
  const path = config.control.socket;
  const app = fastify({
    logger: false,
    bodyLimit: BODY,
    forceCloseConnections: true,
    requestTimeout: 0,
    keepAliveTimeout: 5000,
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.addContentTypeParser("application/octet-stream", (_request, _payload, done) => done(null));
  app.addContentTypeParser("application/x-ndjson", { parseAs: "string" }, (_request, body, done) =>
    done(null, body),
  );
  app.addHook("onRequest", async (request) => {
    const host = (request.headers.host ?? "").replace(/:\d+$/, "");
    // somebody will put a TCP proxy in front, and somebody's browser will be behind it
    if (request.headers.origin !== undefined || !HOSTS.has(host))
      throw new MailreportError("request.refused", { detail: "Origin or Host" });
    const version = request.headers[API_HEADER];
    if (version !== undefined && Number(version) !== API_VERSION)
      throw new MailreportError("request.version");
  });
  app.setNotFoundHandler(() => {
    throw new MailreportError("request.unknown_route");
  });
  app.setErrorHandler((error, request, reply) => {
    const known = toKnown(error);
    if (known.code === "daemon.bug")
      log.error("control.error", { url: request.url, error: errorText(error) });
    const { code, message, detail, httpStatus } = known;
    return reply.code(httpStatus).send({ error: { code, message, detail, request_id: request.id } });
  });
  addRoutes(app, services);
  await freePath(path);
  const umask = process.umask(0o177);
  try {
    await app.listen({ path });
  } catch (error) {
    throw new MailreportError("daemon.state_unusable", {
      detail: `${path}: ${errorText(error)}`,
      cause: error,
    });
  } finally {
    process.umask(umask);
  }
  setSocketAccess(path, config.control.group, 0o660, "control.group");
  const made = lstatSync(path).ino;
  log.info("control.listening", { path });
  return {
    async stop() {
      const ours = lstatSync(path, { throwIfNoEntry: false })?.ino === made;
      await app.close();
      if (ours && lstatSync(path, { throwIfNoEntry: false })?.ino === made) unlinkSync(path);
    },
  };
}

function toKnown(error: unknown): MailreportError {
  if (error instanceof MailreportError) return error;
  const { validation, statusCode, message } = error as {
    validation?: unknown;
    statusCode?: number;
    message?: string;
  };
  if (validation !== undefined)
    return new MailreportError("request.invalid", { detail: (message ?? "").slice(0, 500) });
  if (statusCode === 413) return new MailreportError("request.too_large");
  if (statusCode !== undefined && statusCode < 500)
    return new MailreportError("request.invalid", { detail: (message ?? "").slice(0, 500) });
  return new MailreportError("daemon.bug", { detail: errorText(error), cause: error });
}

/** Removes a socket that nobody answers on; never anything else. */
async function freePath(path: string): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (!there) return;
  if (!there.isSocket())
    throw new MailreportError("daemon.state_unusable", { detail: `${path} is there and no socket` });
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (answered) throw new MailreportError("daemon.already_running", { detail: path });
  unlinkSync(path);
}
