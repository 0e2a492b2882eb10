/**
 * A small SMTP client on node:net for tests and benchmarks: one connection, many mails, all replies.
 * Plain JavaScript, because the benchmarks run it without a build.
 */
import { connect } from "node:net";

export class SmtpClient {
  #socket;
  #buffer = "";
  #waiting = [];
  #failed;

  /** @param {import("node:net").Socket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.#take(chunk.toString("latin1")));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the connection was closed")));
  }

  /** Connects, reads the greeting and says EHLO. */
  static async open(port, name = "client.example", host = "127.0.0.1") {
    const socket = connect(port, host);
    const client = new SmtpClient(socket);
    const greeting = await client.reply();
    if (!greeting.startsWith("220")) throw new Error(greeting);
    await client.command(`EHLO ${name}`);
    return client;
  }

  #take(text) {
    this.#buffer += text;
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/.exec(this.#buffer);
      if (!match) return;
      this.#buffer = this.#buffer.slice(match[0].length);
      this.#waiting.shift()?.resolve(match[0].trimEnd());
    }
  }

  #fail(error) {
    this.#failed ??= error;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }

  /** The next reply. @returns {Promise<string>} */
  reply() {
    if (this.#failed) return Promise.reject(this.#failed);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** @returns {Promise<string>} */
  command(line) {
    const reply = this.reply();
    this.#socket.write(`${line}\r\n`);
    return reply;
  }

  /**
   * Sends one mail; the reply to its end. MAIL, RCPT and DATA go in one write.
   * @param {string} from @param {string} to @param {Uint8Array} data CRLF lines, not yet dot-stuffed
   * @returns {Promise<string>}
   */
  async send(from, to, data) {
    const replies = [this.reply(), this.reply(), this.reply()];
    this.#socket.write(`MAIL FROM:<${from}>\r\nRCPT TO:<${to}>\r\nDATA\r\n`);
    const settled = await Promise.allSettled(replies);
    const lost = settled.find((r) => r.status === "rejected");
    if (lost) throw lost.reason;
    const [mail, rcpt, start] = settled.map((r) => r.value);
    for (const reply of [mail, rcpt]) if (!reply.startsWith("2")) return reply;
    if (!start.startsWith("354")) return start;
    const end = this.reply();
    this.#socket.write(stuffed(data));
    return end;
  }

  async quit() {
    const end = new Promise((resolve) => this.#socket.once("close", resolve));
    this.command("QUIT").catch(() => this.#socket.destroy());
    await end;
  }

  /** The raw socket, for dialogs that a correct client does not have. */
  get socket() {
    return this.#socket;
  }

  destroy() {
    this.#socket.destroy();
  }
}

/** Dot-stuffs (RFC 5321 4.5.2) and ends with CRLF.CRLF. */
export function stuffed(data) {
  let text = Buffer.from(data);
  if (text.includes("\n.") || text[0] === 0x2e) {
    text = Buffer.from(text.toString("latin1").replace(/^\./gm, ".."), "latin1");
  }
  const end = text.subarray(-2).toString("latin1") === "\r\n" ? ".\r\n" : "\r\n.\r\n";
  return Buffer.concat([text, Buffer.from(end)]);
}

/**
 * Sends mails over several kept-open connections at once.
 * @param {number} port
 * @param {readonly {from?: string, to: string, data: Uint8Array, key?: string}[]} mails
 * @param {number} connections
 * @param {(mail: object, reply: string) => void} [onReply]
 */
export async function sendAll(port, mails, connections, onReply = () => {}) {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(connections, mails.length) }, async () => {
      const client = await SmtpClient.open(port);
      while (next < mails.length) {
        const mail = mails[next++];
        onReply(mail, await client.send(mail.from ?? "reporter@reporter.example", mail.to, mail.data));
      }
      await client.quit();
    }),
  );
}
