/** What the listeners do with those who are slow, greedy, deaf or endless. Time is told by a fake clock. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { makeCertificate } from "../support/cert.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { closeListeners, listenerConfig, openListeners } from "../support/listeners.ts";
import { SmtpClient } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const MAIL = Buffer.from("x: y\r\n\r\n");
const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** A client that has said DATA. */
async function inData(port: number) {
  const client = await SmtpClient.open(port);
  await client.command("MAIL FROM:<a@b.example>");
  await client.command("RCPT TO:<dmarc@example.org>");
  expect(await client.command("DATA")).toMatch(/^354/);
  return client;
}

function closed(socket: Socket): Promise<void> {
  socket.on("error", () => {}); // a reset is an end, too
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** Writes to a session; false when the server has cut it. */
const sent = (client: SmtpClient, bytes: string | Buffer): Promise<boolean> =>
  new Promise((resolve) => client.socket.write(bytes, (error) => resolve(!error)));

/** All that a socket says until it closes. */
async function lastWords(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  await closed(socket);
  return text;
}

afterEach(closeListeners);

describe("time", () => {
  it("cuts a mail that comes slower than min_data_rate after 30 seconds", async () => {
    const clock = new FakeClock();
    const { port, listeners, taken } = await openListeners({ clock, smtp: { min_data_rate: 500 } });
    const slow = await inData(port);
    const fast = await inData(port);
    const end = closed(slow.socket);
    await sent(slow, "x: y\r\n\r\n");
    await sent(fast, `x: y\r\n\r\n${"z".repeat(40_000)}\r\n`);
    await clock.advance(30 * SECOND);
    expect(slow.socket.destroyed).toBe(false);
    await clock.advance(2 * SECOND);
    await end;
    expect(listeners.stats()).toMatchObject({ "mail.accepted": 0 });
    expect(await fast.command(".")).toMatch(/^250/);
    expect(taken).toHaveLength(1);
  });

  it("cuts a mail that falls silent for data_timeout", async () => {
    const clock = new FakeClock();
    const { port, taken } = await openListeners({ clock, smtp: { min_data_rate: 0, data_timeout: "3m" } });
    const client = await inData(port);
    const end = closed(client.socket);
    await sent(client, "x: y\r\n\r\n");
    await clock.advance(2 * MINUTE);
    expect(client.socket.destroyed).toBe(false);
    await clock.advance(2 * MINUTE);
    await end;
    expect(taken).toEqual([]);
  });

  it("ends a session without an accepted mail after session_timeout, and counts anew from each", async () => {
    const clock = new FakeClock();
    const { port, listeners } = await openListeners({ clock, smtp: { session_timeout: "10m" } });
    const [idle, good] = [await SmtpClient.open(port), await SmtpClient.open(port)];
    const ends = [closed(idle.socket), closed(good.socket)];
    await clock.advance(9 * MINUTE);
    expect(await good.send("a@b.example", "dmarc@example.org", MAIL)).toMatch(/^250/);
    await clock.advance(2 * MINUTE);
    await ends[0];
    expect(await good.command("NOOP")).toMatch(/^250/);
    await clock.advance(9 * MINUTE);
    await ends[1];
    await until("both to be forgotten", () => listeners.stats()["smtp.session.now"] === 0);
    expect(clock.pendingTimers).toBe(0);
  });

  it("gives a temporary answer when the archive has none, once", async () => {
    const clock = new FakeClock();
    let commit: () => void = () => {};
    const { port, taken } = await openListeners({
      clock,
      accept: () =>
        new Promise((_, reject) => {
          commit = () => reject(new MailreportError("store.busy"));
        }),
    });
    const client = await SmtpClient.open(port);
    const reply = client.send("a@b.example", "dmarc@example.org", MAIL);
    await until("the mail to be handed over", () => taken.length === 1);
    await clock.advance(121 * SECOND);
    expect(await reply).toMatch(/^451 4\.3\.0 No answer in time/);
    commit();
    expect(await client.command("NOOP")).toMatch(/^250/);
    await client.quit();
  });

  it("ends a proxy's connection without a word when its header is late, and those that wait at stop", async () => {
    const clock = new FakeClock();
    const { port, listeners } = await openListeners({ clock, smtp: { trusted_proxies: ["127.0.0.1"] } });
    const late = connect(port, "127.0.0.1");
    const words = lastWords(late);
    late.write("PROXY TCP4 192.0.2.7");
    await until("it to be known", () => clock.pendingTimers === 1);
    await clock.advance(9 * SECOND);
    expect(late.destroyed).toBe(false);
    await clock.advance(SECOND);
    expect(await words).toBe("");
    expect(listeners.stats()).toMatchObject({ "smtp.refused.proxy": 1, "smtp.session.now": 0 });
    const waiting = connect(port, "127.0.0.1");
    const end = lastWords(waiting);
    await until("it to be known", () => clock.pendingTimers === 1);
    await listeners.stop(0);
    expect(await end).toBe("");
    await until("nothing to be left", () => clock.pendingTimers === 0);
  });
});

describe("counts", () => {
  it("says 421 at the 20th bad recipient", async () => {
    const { port } = await openListeners();
    const client = await SmtpClient.open(port);
    await client.command("MAIL FROM:<a@b.example>");
    for (let i = 1; i < 20; i++) {
      expect(await client.command(`RCPT TO:<x${i}@example.org>`)).toMatch(/^550 5\.1\.1/);
    }
    const end = closed(client.socket);
    expect(await client.command("RCPT TO:<x20@example.org>")).toMatch(/^421 4\.7\.0/);
    await end;
  });

  for (const command of ["NOOP", "RSET", "EHLO x.example", "VRFY x", "MAIL FROM:<a@b.example>"]) {
    it(`says 421 after 100 times ${command}, though nobody reads it`, async () => {
      const { port, listeners } = await openListeners();
      const client = await SmtpClient.open(port);
      const end = lastWords(client.socket);
      client.socket.write(`${command}\r\n`.repeat(150));
      const words = await end;
      expect(words).toMatch(/\r\n421 4\.7\.0 Too many commands without a mail\r\n$/);
      expect(words.match(/^\d{3} /gm)!.length).toBeLessThanOrEqual(100);

      const deaf = await SmtpClient.open(port);
      deaf.socket.pause();
      deaf.socket.on("error", () => {});
      deaf.socket.write(`${command}\r\n`.repeat(20_000));
      await until("the deaf one to be gone", () => listeners.stats()["smtp.session.now"] === 0);
      deaf.destroy();
    });
  }

  it("takes a mail to 100 recipients, and no more of them", async () => {
    const { port, lmtpPort, taken } = await openListeners({ lmtp: ["127.0.0.1:0"] });
    for (const [at, hello] of [
      [port, "EHLO"],
      [lmtpPort, "LHLO"],
    ] as const) {
      const client = new SmtpClient(connect(at, "127.0.0.1"));
      await client.reply();
      await client.command(`${hello} client.example`);
      await client.command("MAIL FROM:<a@b.example>");
      for (let i = 0; i < 100; i++) {
        expect(await client.command(`RCPT TO:<x${i}@all.example>`)).toMatch(/^250/);
      }
      expect(await client.command("RCPT TO:<x100@all.example>")).toMatch(/^452 4\.5\.3/);
      await client.command("DATA");
      const replies = [client.command("x: y\r\n\r\n.")];
      for (let i = 1; i < (hello === "LHLO" ? 100 : 1); i++) replies.push(client.reply());
      for (const reply of await Promise.all(replies)) expect(reply).toMatch(/^250 2\.0\.0/);
      await client.quit();
    }
    expect(taken.map((intake) => intake.envelopeTo.length)).toEqual([100, 100]);
  });

  it("answers each taken recipient over LMTP when the mail is not stored", async () => {
    const { lmtpPort } = await openListeners({
      lmtp: ["127.0.0.1:0"],
      accept: async () => {
        throw new MailreportError("store.full");
      },
    });
    const client = new SmtpClient(connect(lmtpPort, "127.0.0.1"));
    await client.reply();
    await client.command("LHLO client.example");
    await client.command("MAIL FROM:<a@b.example>");
    expect(await client.command("RCPT TO:<nobody@example.org>")).toMatch(/^550/);
    for (let i = 0; i < 100; i++) await client.command(`RCPT TO:<x${i}@all.example>`);
    await client.command("DATA");
    const replies = [client.command("x: y\r\n\r\n.")];
    for (let i = 1; i < 100; i++) replies.push(client.reply());
    for (const reply of await Promise.all(replies)) expect(reply).toMatch(/^452 4\.3\.1/);
    expect(await client.command("NOOP")).toMatch(/^250/);
    await client.quit();
  });

  it("holds 2,000 connections of one address to its share; others come through", async () => {
    const { port, listeners } = await openListeners({
      smtp: { connections_per_minute: 100_000, max_connections_per_address: 20 },
    });
    const sockets: Socket[] = [];
    let turned = 0;
    for (let i = 0; i < 2000; i++) {
      const socket = connect(port, "127.0.0.1");
      sockets.push(socket);
      socket.on("error", () => {}); // a reset is an end, too
      socket.on("data", (chunk: Buffer) => {
        if (chunk.toString().startsWith("421 4.7.0")) turned++;
      });
      // no more at once than the kernel keeps for us
      if (i % 100 === 99) await until("these to be turned away", () => turned === i - 19);
    }
    expect(listeners.stats()).toMatchObject({
      "smtp.session.now": 20,
      "smtp.refused.too-many-from-address": 1980,
    });
    const other = new SmtpClient(connect({ port, host: "127.0.0.1", localAddress: "127.0.0.2" }));
    expect(await other.reply()).toMatch(/^220/);
    await other.command("EHLO c.example");
    expect(await other.send("a@b.example", "dmarc@example.org", MAIL)).toMatch(/^250/);
    await other.quit();
    for (const socket of sockets) socket.destroy();
    await until("all to be forgotten", () => listeners.stats()["smtp.session.now"] === 0);
  });

  it("turns away who connects too often, for the rest of the minute", async () => {
    const clock = new FakeClock();
    const { port } = await openListeners({ clock, smtp: { connections_per_minute: 2 } });
    for (let i = 0; i < 2; i++) await (await SmtpClient.open(port)).quit();
    expect(await lastWords(connect(port, "127.0.0.1"))).toMatch(/^421 4\.7\.0 Too many connections/);
    await clock.advance(MINUTE);
    await (await SmtpClient.open(port)).quit();
  });

  it("ends the one that is idle the longest when full, never one in a transaction", async () => {
    const clock = new FakeClock();
    const { port, listeners } = await openListeners({ clock, smtp: { max_connections: 3 } });
    const sending = await SmtpClient.open(port);
    await sending.command("MAIL FROM:<a@b.example>");
    await clock.advance(SECOND);
    const given = await SmtpClient.open(port); // a transaction that was given up is none
    await given.command("MAIL FROM:<a@b.example>");
    await given.command("RSET");
    await clock.advance(SECOND);
    const idle = await SmtpClient.open(port);
    for (const evicted of [given, idle]) {
      const words = evicted.reply();
      const end = closed(evicted.socket);
      await clock.advance(SECOND);
      const next = await SmtpClient.open(port);
      expect(await words).toMatch(/^421 4\.3\.2 Too many sessions/);
      await end;
      await next.command("MAIL FROM:<a@b.example>");
    }
    expect(await lastWords(connect(port, "127.0.0.1"))).toMatch(/^421 4\.3\.2/);
    expect(await sending.command("RCPT TO:<dmarc@example.org>")).toMatch(/^250/);
    expect(listeners.stats()).toMatchObject({ "smtp.session.now": 3, "smtp.refused.too-many": 1 });
  });

  it("cuts a mail that goes on beyond 1.1 times the limit, and keeps none of it", async () => {
    const { port, listeners, taken } = await openListeners({ smtp: { max_message_size: 1_000_000 } });
    const client = await inData(port);
    const end = closed(client.socket);
    let written = 0;
    const lines = Buffer.from(`${"z".repeat(998)}\r\n`.repeat(64));
    while (written < 100_000_000 && (await sent(client, lines))) written += lines.length;
    await end;
    expect(written).toBeGreaterThan(1_100_000);
    expect(written).toBeLessThan(20_000_000); // what the kernel had taken
    expect(taken).toEqual([]);
    await until("the end", () => listeners.stats()["smtp.session.now"] === 0);
    expect(listeners.stats()).toMatchObject({ "mail.refused": 1, "mail.accepted": 0, "smtp.buffered": 0 });
  });
});

describe("reload", () => {
  it("keeps running sessions, and holds new ones to the new configuration", async () => {
    const { port, listeners, taken } = await openListeners({ smtp: { max_message_size: 1_000_000 } });
    const running = await inData(port);
    listeners.prepare(
      listenerConfig({ smtp: { max_message_size: 2_000_000 } }, [{ address: "new@example.com" }]),
    )();
    expect(await running.command("x: y\r\n\r\n.")).toMatch(/^250/);
    expect(await running.send("a@b.example", "new@example.com", MAIL)).toMatch(/^250/);
    const fresh = await SmtpClient.open(port);
    expect(await fresh.command("EHLO x.example")).toMatch(/SIZE 2000000/);
    expect(await running.command("EHLO x.example")).toMatch(/SIZE 1000000/);
    expect(taken.map((intake) => intake.envelopeTo)).toEqual([["dmarc@example.org"], ["new@example.com"]]);
  });

  it("changes nothing when the certificate cannot be read", async () => {
    const { port, listeners } = await openListeners();
    const bad = { tls_certificate: "/nowhere/cert.pem", tls_key: "/nowhere/key.pem", max_recipients: 1 };
    expect(() => listeners.prepare(listenerConfig({ smtp: bad }))).toThrow(/ENOENT/);
    const client = await SmtpClient.open(port);
    expect(await client.command("EHLO x.example")).not.toMatch(/STARTTLS/);
    await client.command("MAIL FROM:<a@b.example>");
    for (const name of ["x", "y"]) {
      expect(await client.command(`RCPT TO:<${name}@all.example>`)).toMatch(/^250/);
    }
  });
});

describe("STARTTLS", () => {
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-smtp-"));
  const { cert, key } = makeCertificate(dir, "mx.example.org");
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  const smtp = { tls_certificate: cert, tls_key: key };

  async function upgraded(port: number, pipelined = "") {
    const clear = await SmtpClient.open(port);
    expect(await clear.command(`STARTTLS${pipelined}`)).toMatch(/^220/);
    clear.socket.removeAllListeners("data");
    const client = new SmtpClient(tls.connect({ socket: clear.socket, rejectUnauthorized: false }));
    expect(await client.command("EHLO client.example")).toMatch(/^250/);
    return client;
  }

  it("forgets a session that was encrypted when it ends", async () => {
    const { port, listeners } = await openListeners({ smtp: { ...smtp, max_connections_per_address: 2 } });
    for (let i = 0; i < 4; i++) {
      const client = await upgraded(port);
      expect(await client.send("a@b.example", "dmarc@example.org", MAIL)).toMatch(/^250/);
      await client.quit();
    }
    await until("all to be forgotten", () => listeners.stats()["smtp.session.now"] === 0);
  });

  it("drops what comes with STARTTLS, and all that was said before", async () => {
    const { port, taken } = await openListeners({ smtp });
    const injected = "\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<dmarc@example.org>".repeat(150);
    const client = await upgraded(port, injected);
    expect(await client.command("RCPT TO:<dmarc@example.org>")).toMatch(/^503/);
    expect(await client.send("a@b.example", "dmarc@example.org", MAIL)).toMatch(/^250/);
    expect(taken).toMatchObject([{ envelopeFrom: "a@b.example", tls: "TLS" }]);
    await client.quit();
  });

  it("replies to what was said before STARTTLS in the same breath, in clear", async () => {
    const { port } = await openListeners({ smtp });
    const clear = await SmtpClient.open(port);
    const replies = [clear.reply(), clear.reply(), clear.reply()];
    clear.socket.write("EHLO x.example\r\nNOOP\r\nSTARTTLS\r\n");
    const codes = (await Promise.all(replies)).map((reply) => reply.slice(0, 3));
    expect(codes).toEqual(["250", "250", "220"]);
    clear.socket.removeAllListeners("data");
    const client = new SmtpClient(tls.connect({ socket: clear.socket, rejectUnauthorized: false }));
    expect(await client.command("EHLO x.example")).toMatch(/^250/);
    await client.quit();
  });

  it("says goodbye inside the encryption", async () => {
    const { port, listeners } = await openListeners({ smtp });
    const client = await upgraded(port);
    const words = client.reply();
    await listeners.stop(5000);
    expect(await words).toMatch(/^421 4\.3\.2 Going down/);
  });

  it("cuts a handshake that takes more than 10 seconds, or at stop", async () => {
    const clock = new FakeClock();
    const { port, listeners } = await openListeners({ clock, smtp });
    const half = async () => {
      const client = await SmtpClient.open(port);
      expect(await client.command("STARTTLS")).toMatch(/^220/);
      await sent(client, Buffer.from("1603010200010001fc0303", "hex")); // the begin of a ClientHello
      return client;
    };
    const slow = await half();
    const end = closed(slow.socket);
    await clock.advance(9 * SECOND);
    expect(slow.socket.destroyed).toBe(false);
    await clock.advance(3 * SECOND);
    await end;
    await until("it to be forgotten", () => listeners.stats()["smtp.session.now"] === 0);
    const other = closed((await half()).socket);
    await listeners.stop(0);
    await other;
  });
});
