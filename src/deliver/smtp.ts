/** One attempt to hand one message to one host over SMTP. The host's reply is the outcome; nothing is thrown. */
import SMTPConnection from "nodemailer/lib/smtp-connection";
import type { Clock } from "../lib/clock.ts";
import { errorText } from "../lib/errors.ts";
import { cleanShort } from "../lib/text.ts";

export interface SmtpTarget {
  /** Name for SNI and the log. */
  readonly host: string;
  /** Address to connect to. */
  readonly address: string;
  readonly port: number;
  readonly tls: "none" | "opportunistic" | "required" | "implicit";
  readonly auth: { readonly user: string; readonly password: string } | null;
}

export interface SmtpOptions {
  readonly clock: Clock;
  /** Our name in EHLO. */
  readonly name: string;
  readonly connectTimeoutMs: number;
  /** The attempt as a whole; a server that answers byte by byte is cut off. */
  readonly attemptTimeoutMs: number;
}

export interface SmtpReply {
  readonly result: "delivered" | "temporary" | "permanent";
  readonly code: number | null;
  readonly enhanced: string | null;
  /** Escaped, at most 512 characters. */
  readonly text: string;
  /** TLS protocol, null in clear. */
  readonly tls: string | null;
  /** Where it ended: conn, tls, auth, mail, rcpt, data, deadline, or error for an error of ours. */
  readonly stage: string;
}

/** What nodemailer's errors carry. */
interface SmtpError extends Error {
  readonly code?: string;
  readonly command?: string;
  readonly response?: string;
  readonly responseCode?: number;
}

/** Splits a reply into code, enhanced code and text (RFC 3463, RFC 2034). */
export function readReply(text: string): Pick<SmtpReply, "code" | "enhanced" | "text"> {
  const line = text.replace(/\r?\n/g, " ");
  const match = /^(\d{3})[ -]?(?:([245]\.\d{1,3}\.\d{1,3})\s)?/.exec(line);
  return { code: match ? Number(match[1]) : null, enhanced: match?.[2] ?? null, text: cleanShort(line) };
}

/** By the first digit alone (RFC 5321 4.2.1). Without a reply it is temporary. */
function classOf(code: number | null): "temporary" | "permanent" {
  return code !== null && code >= 500 && code < 600 ? "permanent" : "temporary";
}

/** Sends `raw` unchanged to one recipient. */
export function sendSmtp(
  target: SmtpTarget,
  envelope: { readonly from: string; readonly to: string },
  raw: Uint8Array,
  { clock, name, connectTimeoutMs, attemptTimeoutMs }: SmtpOptions,
): Promise<SmtpReply> {
  return new Promise((resolve) => {
    const connection = new SMTPConnection({
      host: target.address,
      port: target.port,
      name,
      secure: target.tls === "implicit",
      requireTLS: target.tls === "required",
      ignoreTLS: target.tls === "none",
      servername: target.host,
      // a host named by plain DNS cannot be authenticated; TLS still keeps out passive listeners (RFC 7435)
      tls: { rejectUnauthorized: false, minVersion: "TLSv1.2", servername: target.host },
      connectionTimeout: connectTimeoutMs,
      greetingTimeout: connectTimeoutMs,
      socketTimeout: Math.min(attemptTimeoutMs, 600_000),
    });
    let ended = false;
    const tls = (): string | null => {
      const socket = (connection as unknown as { _socket?: { getProtocol?: () => string | null } })._socket;
      return connection.secure ? (socket?.getProtocol?.() ?? "TLS") : null;
    };
    const end = (reply: SmtpReply): void => {
      if (ended) return;
      ended = true;
      deadline.cancel();
      resolve(reply);
      if (reply.result === "delivered") connection.quit();
      else connection.close();
    };
    /** An exception in a callback of the socket would end the process: it ends the attempt. */
    const guarded = (step: () => void) => (): void => {
      try {
        step();
      } catch (error) {
        const text = cleanShort(errorText(error));
        end({ result: "temporary", code: null, enhanced: null, text, tls: tls(), stage: "error" });
      }
    };
    const fail = (error: SmtpError): void => {
      const reply = readReply(error.response ?? "");
      const code = error.responseCode ?? reply.code;
      const text = error.response ? reply.text : cleanShort(`${error.code ?? "error"}: ${error.message}`);
      const stage = error.code === "ETLS" ? "tls" : (error.command ?? "CONN").toLowerCase();
      end({ result: classOf(code), code, enhanced: reply.enhanced, text, tls: tls(), stage });
    };
    /** A wrong password says nothing of the message: it is sent when the login works again. */
    const failLogin = (error: SmtpError): void => {
      const { code, enhanced, text } = readReply(error.response ?? "");
      const said = error.response ? text : cleanShort(`${error.code ?? "error"}: ${error.message}`);
      const reply = { code: error.responseCode ?? code, enhanced, text: said, tls: tls() };
      end({ ...reply, result: "temporary", stage: "auth" });
    };
    const deadline = clock.after(attemptTimeoutMs, () =>
      end({
        result: "temporary",
        code: null,
        enhanced: null,
        text: "the attempt took too long",
        tls: tls(),
        stage: "deadline",
      }),
    );
    connection.on("error", fail);
    connection.on("end", () =>
      end({
        result: "temporary",
        code: null,
        enhanced: null,
        text: "the connection was closed",
        tls: null,
        stage: "conn",
      }),
    );
    const send = guarded(() => {
      connection.send(
        { from: envelope.from, to: [envelope.to] },
        Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength),
        (error, info) => {
          if (error) return fail(error as SmtpError);
          const accepted = info.accepted?.length === 1 && String(info.accepted[0]) === envelope.to;
          const reply = readReply(info.response ?? "");
          // the library must not have changed the address
          if (!accepted)
            return end({
              ...reply,
              result: "temporary",
              tls: tls(),
              stage: "rcpt",
              text: `the library changed the recipient: ${reply.text}`,
            });
          end({ ...reply, result: "delivered", tls: tls(), stage: "data" });
        },
      );
    });
    const { auth } = target;
    const login = guarded(() => {
      if (auth === null) send();
      else {
        connection.login(
          { user: auth.user, credentials: { user: auth.user, pass: auth.password } },
          (error) => (error ? failLogin(error as SmtpError) : send()),
        );
      }
    });
    guarded(() => connection.connect(login))();
  });
}
