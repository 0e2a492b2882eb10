/** The dialog of a session: smtp-server with our answers to MAIL, RCPT and DATA. */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from "smtp-server";
import type { Config } from "../../config/schema.ts";
import { errorText } from "../../lib/errors.ts";
import { failureOf, logFailure, supervised } from "../../lib/supervised.ts";
import { cleanShort } from "../../lib/text.ts";
import { reply, temporaryReply } from "./accept.ts";
import { readData } from "./data.ts";
import type { Connection } from "./session.ts";
import { type Protocol, type Shared, sessionOf } from "./shared.ts";

const MAX_BAD_RECIPIENTS = 20;
/** A mail without a result by then gets a temporary error. */
const ANSWER_MS = 120_000;
const MAIL_PARAMETERS = new Set(["SIZE", "BODY"]);

type Callback = (error?: Error | null, message?: string) => void;

const faultReply = (): Error => reply(451, "4.3.0 An error of ours; come back later");

/**
 * A server for connections that are handed to it; it never listens.
 * Errors: those of reading the certificate and its key, and of OpenSSL for a pair that cannot be used.
 */
export function makeSmtpServer(shared: Shared, config: Config, protocol: Protocol): SMTPServer {
  const { smtp } = config;
  const lmtp = protocol === "lmtp";
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
    onMailFrom: (address, session, callback) =>
      command("MAIL", shared, session, callback, (answer) =>
        onMail(shared, address.args || {}, session, answer),
      ),
    onRcptTo: (address, session, callback) =>
      command("RCPT", shared, session, callback, (answer) =>
        onRcpt(shared, address.address, session, answer),
      ),
    onData: (stream, session, callback) =>
      void delivery(shared, session, callback, (answer) => onData(shared, stream, session, answer, lmtp)),
    // not the socket's close: STARTTLS removes all listeners from it
    onClose: ({ id }) => {
      const session = shared.sessions.get(id);
      if (!session) return;
      shared.sessions.delete(id);
      shared.connections.remove(session);
    },
  });
  Object.assign(server, { connections: new Connections() });
  server.on("error", (error) => {
    shared.log.debug("smtp.error", { error: errorText(error) });
  });
  return server;
}

/** Answers once: whatever comes later is ignored. */
function once(callback: Callback): Callback {
  let answered = false;
  return (error, message) => {
    if (answered) return;
    answered = true;
    callback(error, message);
  };
}

const factsOf = (verb: string, { remoteAddress }: SMTPServerSession) => ({ verb, remote: remoteAddress });

/** The error boundary of a command: an unexpected error answers it with 451. */
function command(
  verb: string,
  { log }: Shared,
  session: SMTPServerSession,
  callback: Callback,
  work: (answer: Callback) => void,
): void {
  const answer = once(callback);
  try {
    work(answer);
  } catch (thrown) {
    logFailure({ log, unit: "session", fields: factsOf(verb, session) }, failureOf(thrown));
    answer(faultReply());
  }
}

/** The error boundary of a delivery: an unexpected error answers the mail with 451. */
async function delivery(
  { log }: Shared,
  session: SMTPServerSession,
  callback: Callback,
  work: (answer: Callback) => Promise<void>,
): Promise<void> {
  const answer = once(callback);
  const done = await supervised({ log, unit: "session", fields: factsOf("DATA", session) }, () =>
    work(answer),
  );
  if (!done.ok) answer(faultReply());
}

/** smtp-server's open connections; it does not return a connection that it makes. */
class Connections extends Set<object> {
  newest: object | undefined;

  override add(connection: object): this {
    this.newest = connection;
    return super.add(connection);
  }
}

/** Hands a socket to the server; returns the connection that it makes of it. */
export function connect(
  server: SMTPServer,
  socket: Socket,
  client: { readonly remoteAddress?: string; readonly remotePort?: number },
): Connection {
  server.connect(socket, client);
  return (server.connections as unknown as Connections).newest as Connection;
}

function onMail(
  shared: Shared,
  parameters: Readonly<Record<string, unknown>>,
  session: SMTPServerSession,
  callback: Callback,
): void {
  const own = sessionOf(shared, session);
  own.kinds.clear();
  own.badRecipients = 0;
  for (const name in parameters) {
    if (MAIL_PARAMETERS.has(name.toUpperCase())) continue;
    callback(reply(555, `5.5.4 Parameter not supported: ${cleanShort(name, 40)}`));
    return;
  }
  if (shared.stopping) {
    callback(reply(421, "4.3.2 Going down, come back later"));
    return;
  }
  if (shared.problem) {
    shared.acceptor.deferred(session, { error: shared.problem, bug: false });
    callback(temporaryReply(shared.problem));
    return;
  }
  if (!shared.connections.mayMail(own.client)) {
    callback(reply(451, "4.7.1 Too many mails from your address, slow down"));
    return;
  }
  callback();
}

function onRcpt(shared: Shared, address: string, session: SMTPServerSession, callback: Callback): void {
  const own = sessionOf(shared, session);
  const kinds = shared.recipients(address);
  if (kinds === undefined) {
    own.badRecipients++;
    shared.acceptor.refusedRecipient(session, address);
    const enough = own.badRecipients >= MAX_BAD_RECIPIENTS;
    callback(
      enough ? reply(421, "4.7.0 Too many unknown recipients") : reply(550, "5.1.1 No such address here"),
    );
    return;
  }
  if (session.envelope.rcptTo.length >= shared.config.smtp.max_recipients) {
    callback(reply(452, "4.5.3 Too many recipients"));
    return;
  }
  own.kinds.set(address, kinds);
  callback();
}

async function onData(
  shared: Shared,
  stream: SMTPServerDataStream,
  session: SMTPServerSession,
  callback: Callback,
  lmtp: boolean,
): Promise<void> {
  const { clock, acceptor } = shared;
  const { max_message_size, min_data_rate, data_timeout, session_timeout } = shared.config.smtp;
  const own = sessionOf(shared, session);
  const prefix = acceptor.received(session, lmtp);
  const limits = { maxSize: max_message_size, minRate: min_data_rate, timeoutMs: data_timeout };
  const data = await readData(stream, prefix, limits, clock, own);
  if (!data.ok) {
    const large = data.why === "too-large";
    if (large) acceptor.refused(session, "552 5.3.4", "too-large");
    callback(
      large ? reply(552, "5.3.4 The mail is too large") : reply(451, "4.4.2 The mail was not complete"),
    );
    return;
  }
  const due = clock.monotonic() + ANSWER_MS;
  let late = false;
  own.watch = (now) => {
    if (late || now < due) return;
    late = true;
    callback(reply(451, "4.3.0 No answer in time"));
  };
  try {
    const kindsOf = (address: string) => own.kinds.get(address) ?? [];
    const { error, message } = await acceptor.accept(data.raw, prefix.length, session, kindsOf, lmtp);
    if (!error && !late) own.extend(clock.monotonic(), session_timeout);
    callback(error, message);
  } finally {
    own.watch = undefined;
  }
}
