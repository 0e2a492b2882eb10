/**
 * Sends prepared mails over open connections with little work, since it shares the processors with the daemon that is
 * measured: MAIL, RCPT and DATA in one write (RFC 2920), then the mail; replies are counted, not kept.
 */
import { connect } from "node:net";
import { stuffed } from "../support/smtp-client.js";

/** A mail as it is sent. @param {{from?: string, to: string, data: Uint8Array}} mail */
export function prepared({ from = "reporter@reporter.example", to, data }) {
  return {
    envelope: Buffer.from(`MAIL FROM:<${from}>\r\nRCPT TO:<${to}>\r\nDATA\r\n`),
    data: stuffed(data),
  };
}

/**
 * Sends all mails; resolves when each has its 250. Rejects at the first other reply.
 * @param {number} port
 * @param {readonly {envelope: Buffer, data: Buffer}[]} mails
 * @param {number} connections
 */
export async function load(port, mails, connections) {
  let next = 0;
  await Promise.all(
    Array.from({ length: connections }, () => session(port, { nextMail: () => mails[next++] })),
  );
}

/**
 * Sends what `nextMail` gives until it gives nothing; resolves with the milliseconds from the end of each mail to its 250.
 * @param {number} port
 * @param {() => {envelope: Buffer, data: Buffer} | undefined} nextMail
 * @param {number} connections
 * @param {number} pauseMs between two mails of a connection
 */
export async function timedLoad(port, nextMail, connections, pauseMs) {
  const times = [];
  const one = () => session(port, { nextMail, pauseMs, onReply: (ms) => times.push(ms) });
  await Promise.all(Array.from({ length: connections }, one));
  return times;
}

/**
 * One connection.
 * @param {number} port
 * @param {object} options
 * @param {() => ({envelope: Buffer, data: Buffer} | undefined)} options.nextMail undefined: it ends
 * @param {number} [options.pauseMs] between two mails
 * @param {(ms: number) => void} [options.onReply] from the end of a mail to its reply
 */
export function session(port, { nextMail, pauseMs = 0, onReply = () => {} }) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1").setNoDelay(true);
    let mail;
    let rest = "";
    let sent = 0;
    /** Number of replies before the next step, and the class that the last one must have. */
    let missing = 1;
    let wanted = "2";
    let step = hello;
    const say = (bytes, replies, reply, then) => {
      missing = replies;
      wanted = reply;
      step = then;
      socket.write(bytes);
    };
    function hello() {
      say("EHLO load.example\r\n", 1, "2", begin);
    }
    function begin() {
      if (sent > 0) onReply(performance.now() - sent);
      if (sent > 0 && pauseMs > 0) setTimeout(next, pauseMs);
      else next();
    }
    function next() {
      mail = nextMail();
      if (mail) say(mail.envelope, 3, "3", body);
      else socket.end("QUIT\r\n");
    }
    function body() {
      sent = performance.now();
      say(mail.data, 1, "2", begin);
    }
    socket.on("data", (chunk) => {
      const text = rest + chunk.toString("latin1");
      let at = 0;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", at)) {
        if (text[at + 3] !== "-" && --missing === 0) {
          if (text[at] !== wanted) {
            reject(new Error(text.slice(at, end)));
            socket.destroy();
            return;
          }
          step();
        }
        at = end + 1;
      }
      rest = text.slice(at);
    });
    socket.on("error", reject);
    socket.on("close", resolve);
  });
}
