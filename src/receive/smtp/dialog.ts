/** The dialog of a session: smtp-server with our answers to MAIL, RCPT and DATA. */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from "smtp-server";
import type { Config } from "../../config/schema.ts";
import { errorText } from "../../lib/errors.ts";
import { cleanShort } from "../../lib/text.ts";
import { reply } from "./accept.ts";
import { readData } from "./data.ts";
import type { Connection } from "./session.ts";
import { type Protocol, type Shared, sessionOf } from "./shared.ts";

const MOST_BAD_RECIPIENTS = 20;
/** A mail that has no answer by then gets a temporary one. */
const ANSWER_MS = 120_000;
const MAIL_PARAMETERS = new Set(["SIZE", "BODY"]);

type Callback = (error?: Error) => void;

/** A server for connections that are handed to it; it never listens. Errors: those of reading the certificate. */
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
    onMailFrom: (address, session, callback) => onMail(shared, address.args || {}, session, callback),
    onRcptTo: (address, session, callback) => onRcpt(shared, address.address, session, callback),
    onData: (stream, session, callback) => void onData(shared, stream, session, callback, lmtp),
    // not the socket's close: STARTTLS takes all listeners from it
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

/** smtp-server's open connections, which it does not give away as it makes them. */
class Connections extends Set<object> {
  newest: object | undefined;

  override add(connection: object): this {
    this.newest = connection;
    return super.add(connection);
  }
}

/** Hands a socket to the server: the connection that it made of it. */
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
    const enough = own.badRecipients >= MOST_BAD_RECIPIENTS;
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
  callback: (error?: Error | null, message?: string) => void,
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
  let answered = false;
  const answer = (error: Error | null, message?: string): void => {
    if (answered) return;
    answered = true;
    own.watch = undefined;
    if (!error) own.extend(clock.monotonic(), session_timeout);
    callback(error, message);
  };
  const due = clock.monotonic() + ANSWER_MS;
  own.watch = (now) => {
    if (now >= due) answer(reply(451, "4.3.0 No answer in time"));
  };
  try {
    const kindsOf = (address: string) => own.kinds.get(address) ?? [];
    const { error, message } = await acceptor.accept(data.raw, prefix.length, session, kindsOf, lmtp);
    answer(error, message);
  } catch (error) {
    answer(reply(451, "4.3.0 An error of ours; come back later"));
    throw error;
  }
}
