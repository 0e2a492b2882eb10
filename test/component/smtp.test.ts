/** The SMTP and LMTP listeners by raw dialogs on real sockets; the ingest process is played. */
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import type { MessageAuth } from "../../src/model/message-auth.ts";
import type { Accepted, Intake } from "../../src/store/archive/intake.ts";
import { closeListeners, listenerConfig, openListeners, stored } from "../support/listeners.ts";
import { SmtpClient } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

describe("the SMTP listener", () => {
  const open = (
    smtp: Record<string, unknown> = {},
    accept: (intake: Intake) => Promise<Accepted> = async () => stored(1),
    lmtp: readonly string[] = [],
    auth: Partial<MessageAuth> = {},
    requireAuth: unknown = "flag",
  ) => openListeners({ smtp, accept, lmtp, auth, requireAuth });
  afterEach(closeListeners);

  async function session(port: number) {
    const client = await SmtpClient.open(port);
    await client.command("MAIL FROM:<a@b.example>");
    return client;
  }

  it("takes the configured addresses and no others", async () => {
    const { port } = await open();
    const client = await session(port);
    const rcpt = async (address: string) => (await client.command(`RCPT TO:<${address}>`)).slice(0, 9);
    for (const good of [
      "dmarc@example.org",
      "DMARC@Example.ORG",
      "dmarc+x@example.org",
      "tls-a@example.org",
      "x@all.example",
      "postmaster@else.example",
      "noreply+1@x.example",
    ]) {
      expect(await rcpt(good), good).toBe("250 2.1.5");
    }
    for (const bad of [
      "x@example.org",
      "dmarcx@example.org",
      "dmarc@example.com",
      "dmarc%example.org@example.org",
      "a!dmarc@example.org",
    ]) {
      expect(await rcpt(bad), bad).toBe("550 5.1.1");
    }
    client.destroy();
  });

  it("stores what was sent behind its trace field, with the kinds of the address", async () => {
    const { port, taken } = await open();
    const client = await SmtpClient.open(port);
    const reply = await client.send(
      "a@b.example",
      "dmarc@example.org",
      Buffer.from("Subject: x\r\n\r\n.dot\r\n"),
    );
    expect(reply).toBe("250 2.0.0 Ok: kept as m1 (imported)");
    expect(taken[0]).toMatchObject({
      envelopeFrom: "a@b.example",
      envelopeTo: ["dmarc@example.org"],
      kinds: ["dmarc"],
      source: "smtp",
    });
    expect(Buffer.from(taken[0]!.raw).toString()).toMatch(
      /^Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby mx\.example\.org \(mailreportd\) with ESMTP id \S+\r\n\tfor <dmarc@example\.org>;\r\n\t[^\r\n]+ \+0000\r\nSubject: x\r\n\r\n\.dot\r\n$/,
    );
    await client.quit();
  });

  it("has each mail verified by what the session tells, and stores the verdict", async () => {
    const auth = { verdict: "fail", domain: "b.example" } as const;
    const { port, facts, taken } = await open({}, undefined, [], auth);
    const client = await SmtpClient.open(port);
    await client.send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"));
    await client.quit();
    expect(facts[0]).toEqual({
      remoteIp: "127.0.0.1",
      helo: "client.example",
      envelopeFrom: "a@b.example",
      source: "smtp",
    });
    expect(taken[0]!.auth).toMatchObject({ verdict: "fail", domain: "b.example" });
  });

  for (const [kinds, auth, require, wanted] of [
    ["dmarc@", { verdict: "temperror", tls: "temperror" }, "reject", "451 4.4.3"],
    ["dmarc@", { verdict: "temperror", tls: "temperror" }, "flag", "250 2.0.0"],
    ["dmarc@", { verdict: "temperror", tls: "temperror" }, { tls: "reject" }, "250 2.0.0"],
    ["tls-x@", { verdict: "temperror", tls: "temperror" }, { tls: "reject" }, "451 4.4.3"],
    ["tls-x@", { verdict: "pass", tls: "temperror" }, { tls: "reject" }, "451 4.4.3"],
    ["dmarc@", { verdict: "pass", tls: "temperror" }, "reject", "250 2.0.0"],
    ["dmarc@", { verdict: "fail", tls: "fail" }, "reject", "250 2.0.0"], // the archive tells, once it is read
  ] as const) {
    it(`to ${kinds} with ${auth.verdict}, ${auth.tls} for TLS and ${JSON.stringify(require)}: ${wanted}`, async () => {
      const { port, taken } = await open({}, undefined, [], auth, require);
      const client = await SmtpClient.open(port);
      const reply = await client.send("a@b.example", `${kinds}example.org`, Buffer.from("x: y\r\n\r\n"));
      expect(reply.slice(0, 9)).toBe(wanted);
      expect(taken).toHaveLength(wanted.startsWith("250") ? 1 : 0);
      await client.quit();
    });
  }

  it("replies only when the archive has committed, and temporarily when it cannot", async () => {
    let commit: (accepted: Accepted) => void = () => {};
    const waiting = await open(
      {},
      () =>
        new Promise((resolve) => {
          commit = resolve;
        }),
    );
    const client = await SmtpClient.open(waiting.port);
    let replied = "";
    const sending = client
      .send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"))
      .then((reply) => {
        replied = reply;
      });
    await until("the mail to be handed over", () => waiting.taken.length === 1);
    expect(replied).toBe("");
    commit(stored(7));
    await sending;
    expect(replied).toContain("m7");
    await client.quit();
    for (const [code, wanted] of [
      ["store.full", "452 4.3.1"],
      ["store.busy", "451 4.3.0"],
      ["ingest.busy", "451 4.3.0"],
    ] as const) {
      const failing = await open({}, async () => {
        throw new MailreportError(code);
      });
      const other = await SmtpClient.open(failing.port);
      expect(
        (await other.send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"))).slice(0, 9),
        code,
      ).toBe(wanted);
      await other.quit();
    }
  });

  it("ends DATA at CRLF.CRLF only, however it is cut", async () => {
    const { port, taken } = await open();
    for (const end of ["\n.\n", "\n.\r\n", "\r\n.\n", "\n.\r", "\r.\r", "\r\n.\r", "\r\n.\u0000\r\n"]) {
      for (const whole of [true, false]) {
        const before = taken.length;
        const client = await session(port);
        await client.command("RCPT TO:<dmarc@example.org>");
        await client.command("DATA");
        const text = `Subject: x\r\n\r\nbody${end}MAIL FROM:<evil@b.example>\r\nRCPT TO:<dmarc@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n`;
        const socket = (client as unknown as { socket: { write(text: string): void } }).socket;
        const reply = client.reply();
        if (whole) socket.write(text);
        else for (const char of text) socket.write(char);
        expect(await reply, JSON.stringify(end)).toMatch(/^(?:250|550 5\.6\.11)/);
        // no second transaction hides behind it: what was to be smuggled is text of the first mail, or refused with it
        expect(await client.command("RCPT TO:<dmarc@example.org>"), JSON.stringify(end)).toMatch(/^503/);
        const stored = taken.slice(before).map((intake) => Buffer.from(intake.raw).toString("latin1"));
        expect(stored.length, JSON.stringify(end)).toBeLessThanOrEqual(1);
        for (const raw of stored) expect(raw).toContain("Subject: smuggled");
        client.destroy();
      }
    }
  });

  it("bounds sizes, parameters, hops and sessions", async () => {
    const { port, taken } = await open({ max_message_size: 70_000, max_connections_per_address: 3 });
    const client = await SmtpClient.open(port);
    expect(await client.command("MAIL FROM:<a@b.example> SIZE=70001")).toMatch(/^552 5\.3\.4/);
    expect(
      await client.send(
        "a@b.example",
        "dmarc@example.org",
        Buffer.from(`x: y\r\n\r\n${"z".repeat(75_000)}\r\n`),
      ),
    ).toMatch(/^552 5\.3\.4/);
    expect(await client.command("MAIL FROM:<a@b.example> RET=FULL")).toMatch(/^555 5\.5\.4/);
    expect(
      await client.send(
        "a@b.example",
        "dmarc@example.org",
        Buffer.from(`${"Received: by x\r\n".repeat(51)}\r\nx\r\n`),
      ),
    ).toMatch(/^554 5\.4\.6/);
    expect(await client.command("AUTH PLAIN x")).toMatch(/^5/);
    expect(await client.command("WIZ")).toMatch(/^5/);
    expect(taken).toHaveLength(0);
    const others = await Promise.all([SmtpClient.open(port), SmtpClient.open(port)]);
    const turned = await new Promise<string>((resolve) =>
      connect(port, "127.0.0.1").once("data", (chunk) => resolve(chunk.toString())),
    );
    expect(turned).toMatch(/^421 4\.7\.0/);
    for (const c of [client, ...others]) c.destroy();
  });

  it("does not announce what it does not do", async () => {
    const { port } = await open();
    const client = await SmtpClient.open(port);
    const ehlo = await client.command("EHLO x.example");
    expect(ehlo).toMatch(/SIZE 26214400/);
    expect(ehlo).toMatch(/ENHANCEDSTATUSCODES/);
    expect(ehlo).not.toMatch(/STARTTLS|AUTH|DSN|SMTPUTF8|REQUIRETLS|CHUNKING/);
    await client.quit();
  });

  it("takes mail without a sender, as bounces have none", async () => {
    const { port, taken } = await open();
    const client = await SmtpClient.open(port);
    expect(await client.send("", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"))).toMatch(/^250/);
    expect(taken).toMatchObject([{ envelopeFrom: "" }]);
    await client.quit();
  });

  it("stores nothing of a mail that was cut off", async () => {
    const { port, taken } = await open();
    const client = await session(port);
    await client.command("RCPT TO:<dmarc@example.org>");
    await client.command("DATA");
    client.socket.end("Subject: cut\r\n\r\nhalf a line");
    const next = await SmtpClient.open(port);
    await next.send("a@b.example", "dmarc@example.org", Buffer.from("x: whole\r\n\r\n"));
    expect(taken).toHaveLength(1);
    expect(Buffer.from(taken[0]!.raw).toString()).toContain("x: whole");
    await next.quit();
  });

  describe("behind a proxy", () => {
    const line = (address: string, port = 4711) => `PROXY TCP4 ${address} 198.51.100.1 ${port} 25\r\n`;

    async function proxied(port: number, header: string | Buffer) {
      const socket = connect(port, "127.0.0.1");
      socket.write(header);
      const client = new SmtpClient(socket);
      expect(await client.reply()).toMatch(/^220/);
      await client.command("EHLO c.example");
      return client;
    }

    it("knows the client by what the proxy says of it", async () => {
      const { port, taken, facts } = await open({ trusted_proxies: ["127.0.0.0/8"] });
      const v2 = Buffer.from("0d0a0d0a000d0a515549540a2111000cc0000209c6336401c8220019", "hex");
      for (const header of [line("192.0.2.7"), v2, "PROXY UNKNOWN\r\n"]) {
        const client = await proxied(port, header);
        await client.send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"));
        await client.quit();
      }
      const addresses = ["192.0.2.7", "192.0.2.9", "127.0.0.1"];
      expect(taken.map((intake) => intake.remoteIp)).toEqual(addresses);
      expect(facts.map((session) => session.remoteIp)).toEqual(addresses);
      expect(Buffer.from(taken[0]!.raw).toString()).toMatch(
        /^Received: from c\.example \(\[192\.0\.2\.7\]\)/,
      );
    });

    it("limits each client for itself, even two with one address and port", async () => {
      const { port } = await open({ trusted_proxies: ["127.0.0.1"], max_connections_per_address: 2 });
      const two = [await proxied(port, line("192.0.2.7")), await proxied(port, line("192.0.2.7"))];
      const third = connect(port, "127.0.0.1");
      third.write(line("192.0.2.7", 4712));
      const turned = await new Promise<string>((resolve) =>
        third.once("data", (chunk) => resolve(chunk.toString())),
      );
      expect(turned).toMatch(/^421 4\.7\.0/);
      const other = await proxied(port, line("192.0.2.8"));
      for (const client of [...two, other]) {
        expect(await client.send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"))).toMatch(
          /^250/,
        );
        await client.quit();
      }
    });

    it("hands on what comes in one piece with the header: a client that talks too soon is told so", async () => {
      const { port } = await open({ trusted_proxies: ["127.0.0.1"] });
      const v2 = Buffer.from("0d0a0d0a000d0a515549540a2111000fc0000209c6336401c8220019ee0000", "hex");
      for (const header of [Buffer.from(line("192.0.2.7")), v2]) {
        const client = new SmtpClient(connect(port, "127.0.0.1"));
        const reply = client.reply();
        client.socket.write(Buffer.concat([header, Buffer.from("EHLO c.example\r\n")]));
        expect(await reply).toBe("421 mx.example.org You talk too soon");
        client.destroy();
      }
    });

    it("asks over LMTP, too, and whom the last reload names", async () => {
      const proxies = { trusted_proxies: ["127.0.0.1"] };
      const { listeners, port, lmtpPort, taken } = await openListeners({ lmtp: ["127.0.0.1:0"] });
      const direct = await SmtpClient.open(port);
      listeners.prepare(listenerConfig({ smtp: proxies }))();
      const lmtp = new SmtpClient(connect(lmtpPort, "127.0.0.1"));
      lmtp.socket.write("PROXY TCP6 2001:db8::7 2001:db8::1 4711 24\r\n");
      expect(await lmtp.reply()).toMatch(/^220/);
      await lmtp.command("LHLO c.example");
      for (const client of [direct, lmtp]) {
        await client.send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"));
        await client.quit();
      }
      expect(taken.map((intake) => intake.remoteIp)).toEqual(["127.0.0.1", "2001:db8::7"]);
      expect(Buffer.from(taken[1]!.raw).toString()).toMatch(/\(\[IPv6:2001:db8::7\]\)[^;]* with LMTP /);
    });

    it("reads a header that comes byte by byte", async () => {
      const { port, taken } = await open({ trusted_proxies: ["127.0.0.1"] });
      const socket = connect(port, "127.0.0.1");
      socket.setNoDelay(true);
      for (const byte of line("192.0.2.7")) {
        await new Promise<void>((resolve) => socket.write(byte, () => resolve()));
      }
      const client = new SmtpClient(socket);
      expect(await client.reply()).toMatch(/^220/);
      await client.command("EHLO c.example");
      await client.send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"));
      expect(taken).toMatchObject([{ remoteIp: "192.0.2.7" }]);
      await client.quit();
    });

    it("ends a proxy's connection that begins with anything else", async () => {
      const { port, listeners } = await open({ trusted_proxies: ["127.0.0.1"] });
      const socket = connect(port, "127.0.0.1");
      const said: string[] = [];
      socket.on("data", (chunk) => said.push(chunk.toString()));
      const closed = new Promise((resolve) => socket.once("close", resolve));
      socket.on("error", () => {}); // a reset is an end, too
      socket.write("EHLO c.example\r\n");
      await closed;
      expect(said).toEqual([]);
      expect(listeners.stats()).toMatchObject({ "smtp.refused.proxy": 1, "smtp.session.now": 0 });
    });

    it("believes nobody else", async () => {
      const { port, taken } = await open({ trusted_proxies: ["192.0.2.1"] });
      const client = await SmtpClient.open(port);
      expect(await client.command("PROXY TCP4 192.0.2.7 198.51.100.1 1 25")).toMatch(/^50[02]/);
      await client.send("a@b.example", "dmarc@example.org", Buffer.from("x: y\r\n\r\n"));
      expect(taken).toMatchObject([{ remoteIp: "127.0.0.1" }]);
      await client.quit();
    });
  });

  it("answers each recipient over LMTP", async () => {
    const { listeners, taken, facts } = await open({}, async () => stored(3), ["127.0.0.1:0"]);
    const { port } = listeners.listening.find((l) => l.protocol === "lmtp")!;
    const socket = connect(port!, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    const said = (pattern: RegExp) => until(String(pattern), () => pattern.test(text));
    await said(/^220 .*\r\n/);
    socket.write("LHLO x.example\r\n");
    await said(/250 [A-Z]+.*\r\n$/);
    socket.write(
      "MAIL FROM:<a@b.example>\r\nRCPT TO:<dmarc@example.org>\r\nRCPT TO:<x@all.example>\r\nDATA\r\n",
    );
    await said(/354 /);
    socket.write("x: y\r\n\r\n.\r\n");
    await said(/(?:250 2\.0\.0 Ok: kept as m3[^\n]*\n){2}/);
    expect(facts).toMatchObject([{ source: "lmtp" }]);
    expect(taken[0]).toMatchObject({ source: "lmtp", envelopeTo: ["dmarc@example.org", "x@all.example"] });
    socket.destroy();
  });
});
