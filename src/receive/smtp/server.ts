/**
 * The SMTP and LMTP listeners: smtp-server behind connection limits of our own. The reply to DATA comes after the
 * archive has committed the mail; this side never sends mail, not even a bounce.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { SMTPServer } from "smtp-server";
import type { Config } from "../../config/schema.ts";
import type { Clock } from "../../lib/clock.ts";
import { errorText, type MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { failureOf, logFailure, supervised } from "../../lib/supervised.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import { clientKeyOf, networkMatcher } from "../../model/ip.ts";
import type { MessageAuth } from "../../model/message-auth.ts";
import type { Accepted, Intake } from "../../store/archive/intake.ts";
import type { IngestPort } from "../port.ts";
import { recipientTable } from "../recipients.ts";
import { MailAcceptor, type SessionFacts } from "./accept.ts";
import { ConnectionLimits, type Refusal } from "./connection-limits.ts";
import { connect, makeSmtpServer } from "./dialog.ts";
import { isSocketPath, openListener } from "./listen.ts";
import { type ProxyReading, readProxyHeader } from "./proxy.ts";
import { Session } from "./session.ts";
import type { Protocol, Shared } from "./shared.ts";

export interface SmtpOptions {
  readonly config: Config;
  readonly ingest: IngestPort;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
  /** Verifies the report mail before it is stored. */
  readonly verify: (raw: Buffer, facts: SessionFacts) => Promise<MessageAuth>;
  /** Why no mail can be stored now; null: it can. */
  readonly problem?: MailreportError | null;
  /** True for a return path of our reports, to which their bounces are sent. */
  readonly isReturnPath: (address: string) => boolean;
  readonly onAccepted: (accepted: Accepted, intake: Intake) => void;
}

export interface Listening {
  readonly protocol: Protocol;
  readonly address: string;
  readonly port: number | null;
}

/** Longest wait for the header of a proxy. */
const PROXY_HEADER_MS = 10_000;

const REFUSALS: Readonly<Record<Refusal, string>> = {
  "too-many": "421 4.3.2 Too many sessions, come back later",
  "too-many-from-address": "421 4.7.0 Too many sessions from your address",
  "too-fast": "421 4.7.0 Too many connections from your address, slow down",
  paused: "421 4.3.2 Not accepting mail now, come back later",
};

/**
 * Opens all listeners. Errors, with the address: `daemon.port_in_use`, `daemon.no_permission`, `daemon.cannot_listen`;
 * those of `makeSmtpServer`.
 */
export async function startSmtp(options: SmtpOptions): Promise<SmtpListeners> {
  const listeners = new SmtpListeners(options);
  await listeners.start();
  return listeners;
}

/** The peer of a connection. */
interface Client {
  readonly address: string | null;
  readonly port: number;
}

export class SmtpListeners {
  readonly #shared: Shared;
  readonly #isReturnPath: (address: string) => boolean;
  readonly #count: Record<string, number> = { "smtp.session": 0 };
  readonly #listeners: Server[] = [];
  #servers: Readonly<Record<Protocol, SMTPServer>>;
  #isProxy: (ip: string) => boolean;
  /** Connections of proxies of which the header is not complete yet. */
  readonly #unannounced = new Set<Socket>();
  #paused = false;
  readonly listening: Listening[] = [];

  constructor(options: SmtpOptions) {
    const { config, clock, log, isReturnPath } = options;
    this.#isReturnPath = isReturnPath;
    this.#shared = {
      clock,
      log,
      config,
      recipients: recipientTable(config, isReturnPath),
      stopping: false,
      problem: options.problem ?? null,
      connections: new ConnectionLimits(clock, config.smtp, (error, connection) => {
        logFailure({ log, unit: "session", fields: { remote: connection.client } }, failureOf(error));
        connection.cut();
      }),
      acceptor: new MailAcceptor({ ...options, config: () => this.#shared.config }),
      sessions: new Map(),
    };
    this.#isProxy = networkMatcher(config.smtp.trusted_proxies);
    this.#servers = this.#makeServers(config);
  }

  #makeServers(config: Config): Readonly<Record<Protocol, SMTPServer>> {
    return {
      smtp: makeSmtpServer(this.#shared, config, "smtp"),
      lmtp: makeSmtpServer(this.#shared, config, "lmtp"),
    };
  }

  async start(): Promise<void> {
    const { smtp, lmtp } = this.#shared.config;
    try {
      for (const address of smtp.listen) await this.#listen(address, "smtp");
      for (const address of lmtp.listen) await this.#listen(address, "lmtp");
    } catch (error) {
      for (const listener of this.#listeners) listener.close();
      throw error;
    }
  }

  async #listen(address: string, protocol: Protocol): Promise<void> {
    const { log } = this.#shared;
    const local = isSocketPath(address);
    const server = createServer((socket) => this.#connected(socket, protocol, local));
    const port = await openListener(server, address);
    server.on("error", (error) => log.error("smtp.error", { address, error: errorText(error) }));
    this.#listeners.push(server);
    this.listening.push({ protocol, address, port });
    log.info("smtp.listening", { protocol, address, port });
  }

  /** The error boundary of a new connection: an unexpected error ends it alone. */
  #connected(socket: Socket, protocol: Protocol, local: boolean): void {
    this.#count["smtp.session"]!++;
    const peer = socket.remoteAddress ?? null;
    if (peer === null && !local) {
      socket.destroy(); // closed by the client already: it must not pass for a client of a Unix socket
      return;
    }
    const unit = { log: this.#shared.log, unit: "session", fields: { remote: peer } };
    void supervised(unit, () => {
      socket.setNoDelay(true);
      if (peer !== null && this.#isProxy(peer)) return this.#proxied(socket, protocol, peer);
      this.#admit(socket, protocol, { address: peer, port: socket.remotePort ?? 0 });
      return undefined;
    }).then((done) => {
      if (!done.ok) socket.destroy();
    });
  }

  /** A connection of a proxy, of which the header names the client. */
  async #proxied(socket: Socket, protocol: Protocol, proxy: string): Promise<void> {
    const ignored = (): void => {}; // the close that follows says it all
    socket.on("error", ignored);
    const reading: ProxyReading =
      this.#unannounced.size >= this.#shared.config.smtp.max_connections
        ? { ok: false, why: "too many connections without a PROXY header" }
        : await this.#announced(socket);
    if (!reading.ok) {
      this.#countRefusal("proxy", proxy, reading.why);
      socket.destroy();
      return;
    }
    socket.off("error", ignored);
    this.#admit(socket, protocol, reading.client ?? { address: proxy, port: socket.remotePort ?? 0 });
  }

  async #announced(socket: Socket): Promise<ProxyReading> {
    this.#unannounced.add(socket);
    try {
      return await readProxyHeader(socket, this.#shared.clock, PROXY_HEADER_MS);
    } finally {
      this.#unannounced.delete(socket);
    }
  }

  #countRefusal(kind: string, address: string | null, reason: string): void {
    const name = `smtp.refused.${kind}`;
    this.#count[name] = (this.#count[name] ?? 0) + 1;
    this.#shared.log.warn("smtp.refused", { address, reason });
  }

  #admit(socket: Socket, protocol: Protocol, client: Client): void {
    const { connections, stopping } = this.#shared;
    const key = clientKeyOf(client.address ?? "local");
    const refusal = this.#paused || stopping ? "paused" : connections.refusal(key);
    if (refusal !== undefined) {
      this.#countRefusal(refusal, client.address, refusal);
      socket.on("error", () => socket.destroy());
      socket.end(`${REFUSALS[refusal]}\r\n`);
      socket.destroySoon();
      return;
    }
    this.#hand(socket, protocol, client, key);
  }

  /** Hands the connection to the SMTP server, which calls onClose at its end. */
  #hand(socket: Socket, protocol: Protocol, client: Client, key: string): void {
    const { connections, sessions, clock, config } = this.#shared;
    const { address: remoteAddress, port: remotePort } = client;
    const connection = connect(
      this.#servers[protocol],
      socket,
      remoteAddress === null ? {} : { remoteAddress, remotePort },
    );
    const max = (): number => this.#shared.config.smtp.max_recipients;
    const session = new Session(key, connection, clock.monotonic(), config.smtp.session_timeout, max);
    sessions.set(connection.id, session);
    connections.add(session);
  }

  stats(): Record<string, number> {
    const { connections, acceptor } = this.#shared;
    return { ...this.#count, ...acceptor.stats(), "smtp.session.now": connections.size };
  }

  /** Why mail gets a temporary error: what the start waits for, or what kept the last mail from being stored. */
  get problem(): MailreportError | null {
    return this.#shared.problem ?? this.#shared.acceptor.problem;
  }

  /** New sessions get 421 while it is paused. */
  pauseIntake(paused: boolean): void {
    this.#paused = paused;
  }

  /** Gives each mail a temporary error while there is a problem with the store. */
  suspend(problem: MailreportError | null): void {
    this.#shared.problem = problem;
  }

  /**
   * Builds what another configuration needs; the function that it returns puts it in place. Sessions that run go on
   * with the certificate that they began with. Errors: those of `makeSmtpServer`; then nothing has changed.
   */
  prepare(config: Config): () => void {
    const servers = this.#makeServers(config);
    const recipients = recipientTable(config, this.#isReturnPath);
    const isProxy = networkMatcher(config.smtp.trusted_proxies);
    return () => {
      this.#servers = servers;
      this.#shared.config = config;
      this.#shared.recipients = recipients;
      this.#shared.connections.setLimits(config.smtp);
      this.#isProxy = isProxy;
    };
  }

  /** Stops listening, closes idle sessions with 421, lets mails in progress end, at most `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const { connections, clock } = this.#shared;
    this.#shared.stopping = true;
    for (const listener of this.#listeners) listener.close();
    for (const socket of this.#unannounced) socket.destroy();
    const idle = (): void => {
      for (const connection of connections.all()) {
        if (!connection.busy) connection.closeWith421("4.3.2 Going down, come back later");
      }
    };
    const until = clock.monotonic() + graceMs;
    idle();
    while (connections.size > 0 && clock.monotonic() < until) {
      await new Promise<void>((resolve) => clock.after(50, resolve));
      idle();
    }
    for (const connection of connections.all()) connection.cut();
  }
}
