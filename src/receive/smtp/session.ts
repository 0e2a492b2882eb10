/** One admitted connection: its state for the connection limits, the state of its dialog, its replies. */
import type { Socket } from "node:net";
import type { SMTPServerSession } from "smtp-server";
import type { ReportKind } from "../../model/report.ts";
import type { ClientConnection } from "./connection-limits.ts";

/** The parts of smtp-server's connection that are used here, some of which it does not publish. */
export interface Connection {
  readonly id: string;
  readonly session: Partial<SMTPServerSession>;
  /** Encrypted from STARTTLS on. */
  readonly _socket: Socket;
  /** The handshake of STARTTLS is in progress. */
  readonly _upgrading: boolean;
  send(code: number, data: unknown, context?: unknown): void;
}

/** Replies without a mail, after which the session is closed. */
const MAX_COMMANDS = 100;

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

  /** A mail was accepted: the session may last longer. */
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
   * A reply with an enhanced status code of its own keeps it; after too many commands the session is closed. The replies
   * to commands that came together are sent together (RFC 2920 3.2).
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
      // smtp-server waits for the client to close; we do not, unless a handshake is in progress
      if (!connection._upgrading) connection._socket.destroySoon();
    };
  }

  #isOneTooMany(code: number, context: unknown, mostRecipients: () => number): boolean {
    if (context === "DATA_OK" || code === 354) {
      this.#idleReplies = 0;
      this.#recipientReplies = 0;
    }
    // recipients of one mail do not count, nor do the replies to its end over LMTP, one for each
    const recipients = this.#connection.session.envelope?.rcptTo.length ?? 0;
    if (recipients > 0 && this.#recipientReplies < mostRecipients()) {
      this.#recipientReplies++;
      return false;
    }
    return ++this.#idleReplies > MAX_COMMANDS;
  }

  /** After the 220 of STARTTLS a handshake begins, and must end in time. */
  #watchHandshake(): void {
    let since: number | undefined;
    this.watch = (now) => {
      since ??= now;
      if (!this.#connection._upgrading) this.watch = undefined;
      else if (now - since >= HANDSHAKE_MS) this.cut();
    };
  }

  /** Buffers replies until all commands that came together are done. */
  #gather(): void {
    const socket = this.#connection._socket;
    if (this.#gathering !== undefined || socket.destroyed) return;
    this.#gathering = socket;
    socket.cork();
    process.nextTick(() => this.#flush());
  }

  /** Sends the buffered replies; also before the handshake of STARTTLS begins. */
  #flush(): void {
    this.#gathering?.uncork();
    this.#gathering = undefined;
  }
}
