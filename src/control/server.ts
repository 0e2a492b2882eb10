/** The control socket: HTTP/1.1 over a Unix stream socket. Its mode and group decide who may connect. */
import { lstatSync, unlinkSync } from "node:fs";
import { type FastifyInstance, fastify } from "fastify";
import { serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import type { Config } from "../config/schema.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { removeStaleSocket, setSocketAccess } from "../lib/unix-socket.ts";
import { addBoundary } from "./boundary.ts";
import { addRoutes } from "./routes/routes.ts";
import type { Services } from "./services.ts";
import { API_HEADER, API_VERSION } from "./wire.ts";

export interface ControlServer {
  /** Ends imports in progress with an answer, closes, and removes the socket if it is still ours. */
  stop(): Promise<void>;
}

const BODY = 65_536;
const HOSTS = new Set(["", "localhost", "mailreportd"]);

/** A server without routes: schemas, bodies, the checks of every request and the error boundary. */
export function makeApp(log: Log): FastifyInstance {
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
    // a browser behind a TCP proxy in front of the socket must not reach it
    if (request.headers.origin !== undefined || !HOSTS.has(host))
      throw new MailreportError("request.refused", { detail: "Origin or Host" });
    const version = request.headers[API_HEADER];
    if (version !== undefined && Number(version) !== API_VERSION)
      throw new MailreportError("request.version");
  });
  addBoundary(app, log);
  return app;
}

/** Opens the control socket. Errors: `daemon.already_running`, `daemon.state_unusable`. */
export async function startControl(config: Config, services: Services, log: Log): Promise<ControlServer> {
  const path = config.control.socket;
  const app = makeApp(log);
  const endRequests = addRoutes(app, services);
  await removeStaleSocket(path, { notSocket: "daemon.state_unusable", inUse: "daemon.already_running" });
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
      await endRequests();
      await app.close();
      if (ours && lstatSync(path, { throwIfNoEntry: false })?.ino === made) unlinkSync(path);
    },
  };
}
