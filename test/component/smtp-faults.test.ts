/** Faults inside the SMTP side: each ends its own session or mail, and the next one is served. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { type ClientConnection, ConnectionLimits } from "../../src/receive/smtp/connection-limits.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { closeListeners, listenerConfig, openListeners, stored } from "../support/listeners.ts";
import { keptLog } from "../support/log-lines.ts";
import { SmtpClient } from "../support/smtp-client.js";

const MAIL = Buffer.from("Subject: x\r\n\r\nx\r\n");
const send = async (port: number) => {
  const client = await SmtpClient.open(port);
  const reply = await client.send("a@b.example", "dmarc@example.org", MAIL);
  await client.quit();
  return reply;
};
/** Throws what is in `fault`, once. */
const broken = (fault: { error: unknown }) => {
  const { error } = fault;
  fault.error = undefined;
  if (error !== undefined) throw error;
};

afterEach(closeListeners);

describe("a fault while a mail is accepted", () => {
  for (const [name, code, error] of [
    ["an exception", "451 4.3.0", new TypeError("broken")],
    ["a full disk", "452 4.3.1", new MailreportError("store.full")],
    ["a locked database", "451 4.3.0", new MailreportError("store.busy")],
    ["a busy ingest process", "451 4.3.0", new MailreportError("ingest.busy")],
    ["a bug of the ingest process", "451 4.3.0", new MailreportError("daemon.bug")],
    ["a thrown string", "451 4.3.0", "broken"],
  ] as const) {
    it(`${name} in the store ended the daemon or lost its text: that mail gets ${code}, the next one 250`, async () => {
      const { log, lines } = keptLog();
      const fault = { error: error as unknown };
      const accept = async () => {
        broken(fault);
        return stored(1);
      };
      const { port, listeners } = await openListeners({ accept, log });
      expect(await send(port)).toMatch(new RegExp(`^${code}`));
      expect(await send(port)).toMatch(/^250 2\.0\.0/);
      expect(listeners.stats()).toMatchObject({
        "mail.deferred": 1,
        "mail.accepted": 1,
        "smtp.buffered": 0,
      });
      const isBug = !(error instanceof MailreportError) || error.code === "daemon.bug";
      const failed = lines.filter((line) => line.level === "error");
      expect(failed).toHaveLength(1);
      expect(failed[0]).toMatchObject({ event: isBug ? "unit.failed" : "mail.deferred" });
      if (error instanceof Error && isBug) expect(failed[0]?.fields.stack).toContain("smtp-faults.test.ts");
    });
  }

  it("an exception in the verifier ended the daemon: that mail gets 451, the next one 250", async () => {
    const { log, lines } = keptLog();
    const fault = { error: new RangeError("verifier") as unknown };
    const { port, taken } = await openListeners({
      log,
      verify: async () => {
        broken(fault);
        return { verdict: "none", domain: null, dkimDomains: [], tls: "none", by: null, detail: null };
      },
    });
    expect(await send(port)).toMatch(/^451 4\.3\.0/);
    expect(taken).toHaveLength(0);
    expect(await send(port)).toMatch(/^250/);
    expect(lines.find((line) => line.event === "unit.failed")?.fields).toMatchObject({ unit: "mail" });
  });

  it("an error after the commit turned the 250 into an error: it is logged, the mail is accepted", async () => {
    const { log, lines } = keptLog();
    const { port, listeners } = await openListeners({
      log,
      onAccepted: () => {
        throw new TypeError("a bounce that cannot be noted");
      },
    });
    expect(await send(port)).toMatch(/^250/);
    expect(listeners.stats()).toMatchObject({ "mail.accepted": 1, "mail.deferred": 0 });
    expect(lines.find((line) => line.event === "unit.failed")?.fields).toMatchObject({
      unit: "accepted mail",
      id: "m1",
    });
  });
});

describe("a fault in the dialog", () => {
  it("an exception at RCPT ended the daemon: that command gets 451, the session goes on", async () => {
    const { log, lines } = keptLog();
    const fault = { error: new TypeError("table") as unknown };
    const { port } = await openListeners({
      log,
      isReturnPath: () => {
        broken(fault);
        return false;
      },
    });
    const client = await SmtpClient.open(port);
    await client.command("MAIL FROM:<a@b.example>");
    expect(await client.command("RCPT TO:<noreply+x@example.org>")).toMatch(/^451 4\.3\.0/);
    expect(await client.command("RCPT TO:<dmarc@example.org>")).toMatch(/^250/);
    await client.quit();
    expect(lines.find((line) => line.event === "unit.failed")?.fields).toMatchObject({
      unit: "session",
      verb: "RCPT",
    });
  });

  it("an exception at MAIL ended the daemon: that command gets 451", async () => {
    const { log, lines } = keptLog();
    const { port, listeners } = await openListeners({ log });
    const client = await SmtpClient.open(port);
    const broken = {
      get code(): never {
        throw new TypeError("problem");
      },
    };
    listeners.suspend(broken as unknown as MailreportError);
    expect(await client.command("MAIL FROM:<a@b.example>")).toMatch(/^451 4\.3\.0/);
    listeners.suspend(null);
    expect(await client.send("a@b.example", "dmarc@example.org", MAIL)).toMatch(/^250/);
    expect(lines.some((line) => line.event === "unit.failed")).toBe(true);
  });

  it("an exception in the watch over connections ended the daemon: that one is told, the others are watched", async () => {
    const clock = new FakeClock();
    const errors: unknown[] = [];
    const limits = new ConnectionLimits(clock, listenerConfig({}).smtp, (error) => errors.push(error));
    const cut: string[] = [];
    const connection = (client: string, watch?: () => void): ClientConnection => ({
      client,
      busy: false,
      lastActive: 0,
      deadline: 5000,
      watch,
      closeWith421() {},
      cut: () => cut.push(client),
    });
    limits.add(
      connection("a", () => {
        throw new TypeError("watch");
      }),
    );
    limits.add(connection("b"));
    await clock.advance(1000);
    expect(errors).toEqual([new TypeError("watch")]);
    await clock.advance(4000);
    expect(cut).toEqual(["a", "b"]);
  });
});

describe("while no mail can be stored", () => {
  it("mail was refused or hung: it gets 452 for a full disk, 451 otherwise, and 250 when that has passed", async () => {
    const { port, listeners, taken } = await openListeners();
    const client = await SmtpClient.open(port);
    listeners.suspend(new MailreportError("store.full"));
    expect(await client.command("MAIL FROM:<a@b.example>")).toMatch(/^452 4\.3\.1/);
    listeners.suspend(new MailreportError("store.busy"));
    expect(await client.command("MAIL FROM:<a@b.example>")).toMatch(/^451 4\.3\.0/);
    expect(await client.command("NOOP")).toMatch(/^250/);
    listeners.suspend(null);
    expect(await client.send("a@b.example", "dmarc@example.org", MAIL)).toMatch(/^250/);
    expect(taken).toHaveLength(1);
    expect(listeners.stats()).toMatchObject({ "mail.deferred": 2, "mail.accepted": 1 });
  });
});

describe("a Unix socket to listen on", () => {
  const withFolder = async (work: (path: string) => Promise<void>) => {
    const dir = mkdtempSync(join(tmpdir(), "listen-"));
    try {
      await work(join(dir, "lmtp.sock"));
    } finally {
      await closeListeners();
      rmSync(dir, { recursive: true });
    }
  };

  it("left by a killed daemon stopped the next start: it is replaced, and its group may connect", () =>
    withFolder(async (path) => {
      // bound by a process that does not live to remove it
      const bind = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
      spawnSync(process.execPath, ["-e", bind]);
      expect(statSync(path).isSocket()).toBe(true);
      await openListeners({ lmtp: [path] });
      expect(statSync(path).mode & 0o777).toBe(0o660);
      await new Promise<void>((resolve, reject) => {
        const socket = connect(path).once("error", reject);
        socket.once("data", (greeting) => {
          expect(String(greeting)).toMatch(/^220 .*LMTP/);
          socket.destroy();
          resolve();
        });
      });
    }));

  it("of a running server is left alone, and so is a file", () =>
    withFolder(async (path) => {
      await openListeners({ lmtp: [path] });
      await expect(openListeners({ lmtp: [path] })).rejects.toMatchObject({ code: "daemon.port_in_use" });
      const file = `${path}.txt`;
      writeFileSync(file, "text");
      await expect(openListeners({ lmtp: [file] })).rejects.toMatchObject({ code: "daemon.cannot_listen" });
      expect(readFileSync(file, "utf8")).toBe("text");
    }));
});
