/** One connection that was let in: what the gate asks of it, what its dialog has come to, how it replies. */
import type { Socket } from "node:net";
import type { SMTPServerSession } from "smtp-server";
import type { ReportKind } from "../../model/report.ts";
import type { ClientConnection } from "./connection-limits.ts";

/** The parts of smtp-server's connection that we know, beyond what it publishes. */
export interface Connection {
  readonly id: string;
  readonly session: Partial<SMTPServerSession>;
  /** Encrypted from STARTTLS on. */
  readonly _socket: Socket;
  /** The handshake of STARTTLS goes on. */
  readonly _upgrading: boolean;
  send(code: number, data: unknown, context?: unknown): void;
}

/** Replies without a mail, after which the session ends. */
const MOST_COMMANDS = 100;

/** Longest TLS handshake. */
const HANDSHAKE_MS = 10_000;

export class Session implements ClientConnection {
  readonly client: string;
  readonly #connection: Connection;
  lastActive: number;
  deadline: number;
  watch: ClientConnection["watch"];
  /** Kinds of the recipients of this transaction, by address. */
  readonly kinds = new Map<string, readonly ReportKind[]>();
  badRecipients = 0;
  #closing = false;
  #idleReplies = 0;
  #recipientReplies = 0;
  #gathering: Socket | undefined;

  /** @param now monotonic ms @param lastsMs until a mail is accepted @param mostRecipients of one mail */
  constructor(
    client: string,
    connection: Connection,
    now: number,
    lastsMs: number,
    mostRecipients: () => number,
  ) {
    this.client = client;
    this.#connection = connection;
    this.lastActive = now;
    this.deadline = now + lastsMs;
    this.#watchReplies(mostRecipients);
  }

  get busy(): boolean {
    return Boolean(this.#connection.session.envelope?.mailFrom);
  }

  /** A mail was accepted: the session may go on. */
  extend(now: number, lastsMs: number): void {
    this.lastActive = now;
    this.deadline = now + lastsMs;
  }

  closeWith421(text: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#connection.send(421, text, false);
  }

  cut(): void {
    this.#connection._socket.destroy();
  }

  /**
   * Replies that bring an enhanced status code of their own keep it; after too many commands the session ends. The
   * replies to commands that came together go together (RFC 2920 3.2).
   */
  #watchReplies(mostRecipients: () => number): void {
    const connection = this.#connection;
    const send = connection.send.bind(connection);
    connection.send = (code, data, context) => {
      const own = typeof data === "string" && /^[245]\.\d{1,3}\.\d{1,3} /.test(data);
      if (code === 220) {
        this.#flush();
        this.#watchHandshake();
      } else this.#gather();
      if (this.#isOneTooMany(code, context, mostRecipients)) {
        send(421, "4.7.0 Too many commands without a mail", false);
      } else {
        send(code, data, own ? false : context);
        if (code !== 421) return;
      }
      // smtp-server waits for the client to close; not so we, unless a handshake goes on above the socket
      if (!connection._upgrading) connection._socket.destroySoon();
    };
  }

  #isOneTooMany(code: number, context: unknown, mostRecipients: () => number): boolean {
    if (context === "DATA_OK" || code === 354) {
      this.#idleReplies = 0;
      this.#recipientReplies = 0;
    }
    // a mail to many is no idle talk, nor are the replies to its end over LMTP, one for each
    const recipients = this.#connection.session.envelope?.rcptTo.length ?? 0;
    if (recipients > 0 && this.#recipientReplies < mostRecipients()) {
      this.#recipientReplies++;
      return false;
    }
    return ++this.#idleReplies > MOST_COMMANDS;
  }

  /** Behind the 220 of STARTTLS a handshake begins, and must end. */
  #watchHandshake(): void {
    let since: number | undefined;
    this.watch = (now) => {
      since ??= now;
      if (!this.#connection._upgrading) this.watch = undefined;
      else if (now - since >= HANDSHAKE_MS) this.cut();
    };
  }

  /** Keeps what is written until all that came with this command is done. */
  #gather(): void {
    const socket = this.#connection._socket;
    if (this.#gathering !== undefined || socket.destroyed) return;
    this.#gathering = socket;
    socket.cork();
    process.nextTick(() => this.#flush());
  }

  /** What was kept goes out: before the handshake of STARTTLS takes the socket, too. */
  #flush(): void {
    this.#gathering?.uncork();
    this.#gathering = undefined;
  }
}
