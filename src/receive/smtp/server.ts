/**
 * The SMTP and LMTP listeners: smtp-server behind a gate of our own. The reply to DATA comes after the archive has
 * committed the mail; this side never sends mail, not even a bounce.
 */
import { readFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from "smtp-server";
import type { Config } from "../../config/schema.ts";
import type { Clock } from "../../lib/clock.ts";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { cleanShort } from "../../lib/text.ts";
import { networkMatcher } from "../../model/ip.ts";
import type { ReportKind } from "../../model/report.ts";
import type { CarrierAuth, Intake } from "../../store/archive.ts";
import type { Accepted, IngestPort } from "../port.ts";
import { type RecipientTable, recipientTable } from "../recipients.ts";
import { readData } from "./data.ts";
import { Gate, type Guest, type Refusal } from "./gate.ts";
import { type ProxyReading, readProxyHeader } from "./proxy.ts";
import { MailTaker, reply, type SessionFacts } from "./take.ts";

export interface SmtpOptions {
  readonly config: Config;
  readonly ingest: IngestPort;
  readonly clock: Clock;
  readonly log: Log;
  /** Verifies the carrying mail before it is stored. */
  readonly verify: (raw: Buffer, facts: SessionFacts) => Promise<CarrierAuth>;
  /** One of our own return paths: bounces of our reports come home. */
  readonly isReturnPath: (address: string) => boolean;
  readonly onAccepted: (accepted: Accepted, intake: Intake) => void;
}

export interface Listening {
  readonly protocol: "smtp" | "lmtp";
  readonly address: string;
  readonly port: number | null;
}

const MOST_BAD_RECIPIENTS = 20;
const MOST_COMMANDS = 100;
/** A handler that has no answer by then gives a temporary one. */
const ANSWER_MS = 120_000;
/** How long a proxy may take for its first line. */
const PROXY_HEADER_MS = 10_000;

interface SessionState {
  readonly guest: Guest;
  badRecipients: number;
  kinds: Map<string, readonly ReportKind[]>;
}

const REFUSALS: Readonly<Record<Refusal, string>> = {
  "too-many": "421 4.3.2 Too many sessions, come back later",
  "too-many-from-address": "421 4.7.0 Too many sessions from your address",
  "too-fast": "421 4.7.0 Too many connections from your address, slow down",
  paused: "421 4.3.2 Not taking mail now, come back later",
};

/** Opens all listeners. Errors: `daemon.port_in_use`, `daemon.no_permission`, naming the address. */
export async function startSmtp(options: SmtpOptions): Promise<SmtpListeners> {
  const listeners = new SmtpListeners(options);
  await listeners.start();
  return listeners;
}

export class SmtpListeners {
  readonly #options: SmtpOptions;
  #config: Config;
  #recipients: RecipientTable;
  readonly #gate: Gate;
  readonly #servers: Server[] = [];
  #smtp: SMTPServer;
  readonly #lmtp: SMTPServer;
  readonly #sessions = new WeakMap<object, SessionState>();
  /** By the id of their connection. */
  readonly #guests = new Map<string, Guest>();
  #isProxy: (ip: string) => boolean;
  /** Connections of proxies that have not said yet whose they are. */
  #waitingProxied = 0;
  readonly #count: Record<string, number> = {
    "smtp.session": 0,
  };
  #paused = false;
  #stopping = false;
  readonly #taker: MailTaker;
  readonly listening: Listening[] = [];

  constructor(options: SmtpOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#recipients = recipientTable(options.config, options.isReturnPath);
    this.#gate = new Gate(options.clock, options.config.smtp);
    this.#taker = new MailTaker({ ...options, config: () => this.#config });
    this.#isProxy = networkMatcher(options.config.smtp.trusted_proxies);
    this.#smtp = this.#makeServer(false);
    this.#lmtp = this.#makeServer(true);
  }

  async start(): Promise<void> {
    try {
      for (const address of this.#config.smtp.listen) await this.#listen(address, "smtp");
      for (const address of this.#config.lmtp.listen) await this.#listen(address, "lmtp");
    } catch (error) {
      for (const server of this.#servers) server.close();
      throw error;
    }
  }

  async #listen(address: string, protocol: "smtp" | "lmtp"): Promise<void> {
    const server = createServer((socket) => this.#connected(socket, protocol));
    const path = address.startsWith("/") ? address : undefined;
    const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d+)$/.exec(address);
    const target =
      path === undefined ? { host: match?.[1] ?? match?.[2] ?? "", port: Number(match?.[3] ?? 0) } : { path };
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, address)));
      server.listen(target, resolve);
    });
    server.on("error", (error) =>
      this.#options.log.error("smtp.error", { address, error: errorText(error) }),
    );
    this.#servers.push(server);
    const bound = server.address();
    const port = typeof bound === "object" && bound !== null ? bound.port : null;
    this.listening.push({ protocol, address, port });
    this.#options.log.info("smtp.listening", { protocol, address, port });
  }

  #connected(socket: Socket, protocol: "smtp" | "lmtp"): void {
    this.#count["smtp.session"]!++;
    socket.setNoDelay(true);
    const peer = socket.remoteAddress ?? null;
    if (peer !== null && this.#isProxy(peer)) void this.#proxied(socket, protocol, peer);
    else this.#admit(socket, protocol, { address: peer, port: socket.remotePort ?? 0 });
  }

  /** A connection of a proxy: it says first whose it is. */
  async #proxied(socket: Socket, protocol: "smtp" | "lmtp", proxy: string): Promise<void> {
    const ignored = (): void => {}; // the close that follows says it all
    socket.on("error", ignored);
    const waiting = this.#config.smtp.max_connections;
    const reading: ProxyReading =
      this.#waitingProxied >= waiting
        ? { ok: false, why: "too many connections without a PROXY header" }
        : await this.#waitingFor(readProxyHeader(socket, this.#options.clock, PROXY_HEADER_MS));
    if (!reading.ok) {
      this.#count["smtp.refused.proxy"] = (this.#count["smtp.refused.proxy"] ?? 0) + 1;
      this.#options.log.warn("smtp.refused", { address: proxy, reason: reading.why });
      socket.destroy();
      return;
    }
    socket.off("error", ignored);
    this.#admit(socket, protocol, reading.client ?? { address: proxy, port: socket.remotePort ?? 0 });
  }

  async #waitingFor<T>(work: Promise<T>): Promise<T> {
    this.#waitingProxied++;
    try {
      return await work;
    } finally {
      this.#waitingProxied--;
    }
  }

  #admit(socket: Socket, protocol: "smtp" | "lmtp", client: Client): void {
    const guest = this.#paused || this.#stopping ? "paused" : this.#gate.admit(socket, client.address);
    if (typeof guest === "string") {
      const name = `smtp.refused.${guest}`;
      this.#count[name] = (this.#count[name] ?? 0) + 1;
      this.#options.log.warn("smtp.refused", { address: client.address, reason: guest });
      socket.on("error", () => socket.destroy());
      socket.end(`${REFUSALS[guest]}\r\n`);
      socket.destroySoon();
      return;
    }
    socket.on("data", () => {
      guest.lastActive = this.#options.clock.monotonic();
    });
    const server = protocol === "smtp" ? this.#smtp : this.#lmtp;
    server.connect(
      socket,
      client.address === null ? {} : { remoteAddress: client.address, remotePort: client.port },
    );
    const connection = [...server.connections].at(-1) as unknown as Connection;
    this.#guests.set(connection.id, guest);
    ownCodes(connection, () => socket.destroySoon());
  }

  #makeServer(lmtp: boolean): SMTPServer {
    const { smtp } = this.#config;
    const secured = smtp.tls_certificate !== undefined && smtp.tls_key !== undefined && !lmtp;
    const server = new SMTPServer({
      name: smtp.banner,
      banner: "mailreportd",
      lmtp,
      size: smtp.max_message_size,
      authOptional: true,
      disabledCommands: ["AUTH", "WIZ", "SHELL", "KILL", "HELP", ...(secured ? [] : ["STARTTLS"])],
      disableReverseLookup: true,
      hideENHANCEDSTATUSCODES: false,
      hideDSN: true,
      hideREQUIRETLS: true,
      hideSMTPUTF8: true,
      logger: false,
      closeTimeout: 1000,
      socketTimeout: smtp.command_timeout,
      ...(secured
        ? {
            cert: readFileSync(smtp.tls_certificate!),
            key: readFileSync(smtp.tls_key!),
            minVersion: "TLSv1.2" as const,
          }
        : {}),
      onConnect: (session, callback) => {
        if (this.#adopt(session)) callback();
        else callback(reply(421, "4.3.2 Come back later")); // it was turned away meanwhile
      },
      onMailFrom: (address, session, callback) => this.#onMail(address, session, callback),
      onRcptTo: (address, session, callback) => this.#onRcpt(address.address, session, callback),
      onData: (stream, session, callback) => void this.#onData(stream, session, callback, lmtp),
      onClose: ({ id }) => {
        this.#guests.get(id)?.leave();
        this.#guests.delete(id);
      },
    });
    server.on("error", (error) => {
      this.#options.log.debug("smtp.error", { error: errorText(error) });
    });
    return server;
  }

  /** Ties a session to its guest, by the id that its connection gave it. */
  #adopt(session: SMTPServerSession): SessionState | undefined {
    const known = this.#sessions.get(session);
    if (known) return known;
    const guest = this.#guests.get(session.id);
    if (!guest) return undefined;
    const state = { guest, badRecipients: 0, kinds: new Map() };
    this.#sessions.set(session, state);
    return state;
  }

  /** The state of a session that has said more than hello. */
  #stateOf(session: SMTPServerSession): SessionState {
    const state = this.#adopt(session);
    if (!state) throw new MailreportError("daemon.bug", { detail: "a session without a connection" });
    return state;
  }

  #onMail(
    address: { readonly address: string; readonly args: false | Record<string, string | true> },
    session: SMTPServerSession,
    callback: (error?: Error) => void,
  ): void {
    const state = this.#stateOf(session);
    state.kinds.clear();
    state.badRecipients = 0;
    const foreign = Object.keys(address.args || {}).find(
      (name) => !["SIZE", "BODY"].includes(name.toUpperCase()),
    );
    if (foreign !== undefined) {
      callback(reply(555, `5.5.4 Parameter not supported: ${cleanShort(foreign, 40)}`));
      return;
    }
    if (this.#stopping) {
      callback(reply(421, "4.3.2 Going down, come back later"));
      return;
    }
    if (!this.#gate.mayMail(state.guest.party)) {
      callback(reply(451, "4.7.1 Too many mails from your address, slow down"));
      return;
    }
    state.guest.busy = true;
    callback();
  }

  #onRcpt(address: string, session: SMTPServerSession, callback: (error?: Error) => void): void {
    const state = this.#stateOf(session);
    const kinds = this.#recipients(address);
    if (kinds === undefined) {
      state.badRecipients++;
      this.#taker.refusedRecipient(session, address);
      if (state.badRecipients >= MOST_BAD_RECIPIENTS) {
        callback(reply(421, "4.7.0 Too many unknown recipients"));
        return;
      }
      callback(reply(550, "5.1.1 No such address here"));
      return;
    }
    if (session.envelope.rcptTo.length >= this.#config.smtp.max_recipients) {
      callback(reply(452, "4.5.3 Too many recipients"));
      return;
    }
    state.kinds.set(address, kinds);
    callback();
  }

  async #onData(
    stream: SMTPServerDataStream,
    session: SMTPServerSession,
    callback: (error?: Error | null, message?: string) => void,
    lmtp: boolean,
  ): Promise<void> {
    const { clock } = this.#options;
    const state = this.#stateOf(session);
    let answered = false;
    const answer = (error: Error | null, message?: string): void => {
      if (answered) return;
      answered = true;
      late.cancel();
      state.guest.busy = false;
      if (error) callback(error);
      else {
        state.guest.extend();
        callback(null, message);
      }
    };
    let late = clock.after(ANSWER_MS + this.#config.smtp.session_timeout, () =>
      answer(reply(451, "4.3.0 No answer in time")),
    );
    const { max_message_size, min_data_rate, data_timeout } = this.#config.smtp;
    const received = this.#taker.received(session, lmtp);
    const data = await readData(
      stream,
      received,
      { maxSize: max_message_size, minRate: min_data_rate, timeoutMs: data_timeout },
      clock,
      () => state.guest.socket.destroy(),
    );
    if (!data.ok) {
      if (data.why === "too-large") this.#taker.refused(session, "552 5.3.4", "too-large");
      answer(
        reply(
          data.why === "too-large" ? 552 : 451,
          data.why === "too-large" ? "5.3.4 The mail is too large" : "4.4.2 The mail was not complete",
        ),
      );
      return;
    }
    late.cancel();
    late = clock.after(ANSWER_MS, () => answer(reply(451, "4.3.0 No answer in time")));
    try {
      const { error, message } = await this.#taker.take(
        data.raw,
        received.length,
        session,
        (address) => state.kinds.get(address) ?? [],
        lmtp,
      );
      answer(error, message);
    } catch (error) {
      answer(reply(451, "4.3.0 An error of ours; come back later"));
      throw error;
    }
  }

  stats(): Record<string, number> {
    return { ...this.#count, ...this.#taker.stats(), "smtp.session.now": this.#gate.size };
  }

  /** New sessions get 421 while it is paused. */
  pauseIntake(paused: boolean): void {
    this.#paused = paused;
  }

  /** Takes over recipients, limits and certificates; running sessions go on under the old server. */
  reload(config: Config): void {
    this.#config = config;
    this.#recipients = recipientTable(config, this.#options.isReturnPath);
    this.#gate.setLimits(config.smtp);
    this.#isProxy = networkMatcher(config.smtp.trusted_proxies);
    this.#smtp = this.#makeServer(false);
  }

  /** Stops listening, says 421 to the idle, lets mails in progress end, at most `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    for (const server of this.#servers) server.close();
    const idle = (): void => {
      for (const guest of this.#gate.guests()) {
        if (!guest.busy) {
          guest.socket.end("421 4.3.2 Going down, come back later\r\n");
          guest.socket.destroySoon();
        }
      }
    };
    const { clock } = this.#options;
    const until = clock.monotonic() + graceMs;
    idle();
    while (this.#gate.size > 0 && clock.monotonic() < until) {
      await new Promise<void>((resolve) => clock.after(50, resolve));
      idle();
    }
    for (const guest of this.#gate.guests()) guest.socket.destroy();
  }
}

/** Whose connection it is. */
interface Client {
  readonly address: string | null;
  readonly port: number;
}

interface Connection {
  readonly id: string;
  send(code: number, data: unknown, context?: unknown): void;
}

/** Replies that bring an enhanced status code of their own keep it; after too many commands the session ends. */
function ownCodes(connection: Connection, end: () => void): void {
  const send = connection.send.bind(connection);
  let idle = 0;
  connection.send = (code, data, context) => {
    const own = typeof data === "string" && /^[245]\.\d{1,3}\.\d{1,3} /.test(data);
    if (context === "DATA_OK" || code === 354) idle = 0;
    if (++idle > MOST_COMMANDS) {
      send(421, "4.7.0 Too many commands without a mail", false);
      end();
      return;
    }
    send(code, data, own ? false : context);
    if (code === 421) end();
  };
}

function listenError(error: NodeJS.ErrnoException, address: string): MailreportError {
  const code =
    error.code === "EADDRINUSE"
      ? "daemon.port_in_use"
      : error.code === "EACCES"
        ? "daemon.no_permission"
        : "daemon.state_unusable";
  return new MailreportError(code, { detail: `${address}: ${error.message}`, cause: error });
}
