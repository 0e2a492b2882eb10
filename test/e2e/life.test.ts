/** The life of the built daemon: start, signals, second daemon, mistakes in the configuration. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { makeCertificate } from "../support/cert.ts";
import { MAILREPORTCTL, MAILREPORTD, newStateFolder, TestDaemon } from "../support/daemon.ts";
import { dmarcMail } from "../support/report-mail.js";
import { SmtpClient, sendAll } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const run = (program: string, args: string[], cwd: string) => {
  const ran = spawnSync(process.execPath, [program, ...args], { cwd, encoding: "utf8", timeout: 30_000 });
  return { code: ran.status, stdout: ran.stdout, stderr: ran.stderr };
};

/** The common name of the certificate that STARTTLS shows. */
async function certificateOf(port: number): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  const reply = () => new Promise<string>((resolve) => socket.once("data", (data) => resolve(String(data))));
  await reply();
  socket.write("EHLO x.example\r\n");
  await reply();
  socket.write("STARTTLS\r\n");
  await reply();
  const secured = connectTls({ socket, rejectUnauthorized: false });
  await new Promise((resolve) => secured.once("secureConnect", resolve));
  const { CN } = secured.getPeerCertificate().subject;
  secured.destroy();
  return String(CN);
}

describe("the daemon's life", () => {
  const daemons: TestDaemon[] = [];
  const daemon = (options?: ConstructorParameters<typeof TestDaemon>[0]) => {
    const made = new TestDaemon(options);
    daemons.push(made);
    return made;
  };
  afterEach(async ({ task }) => {
    for (const d of daemons.splice(0)) {
      await d.stop("SIGKILL");
      if (task.result?.state !== "fail") d.remove();
    }
  });

  it("starts, says that it is ready, answers, and drains on SIGTERM with exit code 0", async () => {
    const d = await daemon().start();
    const status = d.ctl("show", "status");
    expect(status.code).toBe(0);
    expect(status.stdout).toMatch(/SMTP running/i);
    expect(d.ctl("show", "stats").stdout).toMatch(/^uptime=\d+$/m);
    expect(await d.stop("SIGTERM")).toBe(0);
    expect(d.events("daemon.stopped")).toHaveLength(1);
    expect(existsSync(d.socket)).toBe(false);
    expect(d.ctl("show", "status").code).toBe(69);
  });

  it("keeps its databases and socket away from others", async () => {
    const d = await daemon().start();
    for (const name of ["archive.db", "queue.db"]) {
      expect(statSync(join(d.dir, "var", name)).mode & 0o007, name).toBe(0);
    }
    expect(statSync(d.socket).mode & 0o777).toBe(0o660);
  });

  it("a second daemon on the same state refuses with 69 and harms nothing", async () => {
    const first = await daemon().start();
    const second = run(MAILREPORTD, ["-F", "-f", first.configFile], first.dir);
    expect(second.code).toBe(69);
    expect(second.stderr).toContain("another daemon uses this state directory");
    expect(first.ctl("show", "status").code).toBe(0);
    const client = await SmtpClient.open(first.smtpPort);
    expect(await client.command("NOOP")).toMatch(/^250/);
    await client.quit();
  });

  it("an address in use is refused with 69 and named", async () => {
    const first = await daemon().start();
    const port = first.smtpPort;
    const second = daemon({
      whole: readFileSync(first.configFile, "utf8").replace('"127.0.0.1:0"', `"127.0.0.1:${port}"`),
    });
    const ran = run(MAILREPORTD, ["-F", "-f", second.configFile], second.dir);
    expect(ran.code).toBe(69);
    expect(ran.stderr).toContain(`127.0.0.1:${port}`);
  });

  it("ends at once on a second signal", async () => {
    const d = await daemon().start();
    // a session in DATA holds the drain open
    const client = await SmtpClient.open(d.smtpPort);
    await client.command("MAIL FROM:<a@b.example>");
    await client.command("RCPT TO:<dmarc@example.org>");
    expect(await client.command("DATA")).toMatch(/^354/);
    d.signal("SIGTERM");
    await until("the drain to begin", () => d.events("daemon.stopping").length === 1);
    d.signal("SIGTERM");
    expect(await d.ended()).toBe(1);
    client.destroy();
  });

  it("every mistake of the configuration is told at once, with its place, and exit code 78", () => {
    const dir = newStateFolder();
    mkdirSync(dir, { recursive: true });
    const file = join(dir, "bad.conf");
    writeFileSync(
      file,
      'hostname = "x.example"\n[smtp]\nlisen = ["127.0.0.1:0"]\nmax_recipients = "many"\n[report]\ntls_jitter = "soon"\n',
    );
    const checked = run(MAILREPORTD, ["-n", "-f", file], dir);
    expect(checked.code).toBe(78);
    expect(checked.stderr).toMatch(/bad\.conf:3:1: smtp\.lisen: .*did you mean "listen"/);
    expect(checked.stderr).toMatch(/bad\.conf:4:\d+: smtp\.max_recipients: /);
    expect(checked.stderr).toMatch(/bad\.conf:6:\d+: report\.tls_jitter: /);
    expect(run(MAILREPORTD, ["-F", "-f", file], dir).code).toBe(78);
    expect(run(MAILREPORTD, ["-n", "-f", join(dir, "none.conf")], dir).code).toBe(66);
  });

  it("reload applies a good configuration and keeps the old one beside a bad one", async () => {
    const d = await daemon().start();
    const good = readFileSync(d.configFile, "utf8");
    const rcpt = async (address: string) => {
      const client = await SmtpClient.open(d.smtpPort);
      await client.command("MAIL FROM:<a@b.example>");
      const reply = await client.command(`RCPT TO:<${address}>`);
      await client.quit();
      return reply;
    };
    expect(await rcpt("new@else.example")).toMatch(/^550 5\.1\.1/);
    writeFileSync(d.configFile, `${good}\n[[recipient]]\naddress = "new@else.example"\n`);
    const reloaded = d.ctl("reload");
    expect(reloaded.code, reloaded.stderr).toBe(0);
    expect(await rcpt("new@else.example")).toMatch(/^250/);
    writeFileSync(d.configFile, `${good}\nnonsense = 1\n`);
    const refused = d.ctl("reload");
    expect(refused.code).toBe(78);
    expect(refused.stderr).toContain("nonsense");
    expect(await rcpt("new@else.example")).toMatch(/^250/);
    writeFileSync(d.configFile, good);
    d.signal("SIGHUP");
    await until("the reload by signal", async () => (await rcpt("new@else.example")).startsWith("550"));
  });

  it("a half-renewed certificate ended the daemon: reload keeps all of the old, then takes the whole pair", async () => {
    const d = daemon();
    const [old, renewed] = ["old.example", "new.example"].map((name) => makeCertificate(d.dir, name));
    const [cert, key] = [join(d.dir, "server.crt"), join(d.dir, "server.key")];
    const install = (from: string, to: string) => {
      copyFileSync(from, `${to}.new`);
      chmodSync(`${to}.new`, 0o600);
      renameSync(`${to}.new`, to);
    };
    install(old!.cert, cert);
    install(old!.key, key);
    const text = readFileSync(d.configFile, "utf8");
    const withTls = text.replace("[smtp]", `[smtp]\ntls_certificate = "${cert}"\ntls_key = "${key}"`);
    writeFileSync(d.configFile, withTls);
    await d.start();
    const rcpt = async () => {
      const client = await SmtpClient.open(d.smtpPort);
      await client.command("MAIL FROM:<a@b.example>");
      const reply = await client.command("RCPT TO:<new@else.example>");
      await client.quit();
      return reply;
    };
    expect(await certificateOf(d.smtpPort)).toBe("old.example");

    install(renewed!.cert, cert);
    writeFileSync(d.configFile, `${withTls}\n[[recipient]]\naddress = "new@else.example"\n`);
    d.signal("SIGHUP");
    await until("the reload to be refused", () => d.events("daemon.reload_refused").length === 1);
    expect(String(d.events("daemon.reload_refused")[0]?.problems)).toContain(
      "is not the key of the certificate",
    );
    const refused = d.ctl("reload");
    expect(refused.code).toBe(78);
    expect(refused.stderr).toContain(`${key} is not the key of the certificate in ${cert}`);
    expect(await certificateOf(d.smtpPort)).toBe("old.example");
    expect(await rcpt()).toMatch(/^550/);

    writeFileSync(cert, "half a certificate");
    expect(d.ctl("reload").code).toBe(78);
    rmSync(cert);
    expect(d.ctl("reload").code).toBe(78);
    expect(await certificateOf(d.smtpPort)).toBe("old.example");

    install(renewed!.cert, cert);
    install(renewed!.key, key);
    expect(d.ctl("reload")).toMatchObject({ code: 0, stderr: "" });
    expect(await certificateOf(d.smtpPort)).toBe("new.example");
    expect(await rcpt()).toMatch(/^250/);
    expect(d.events("unit.failed")).toEqual([]);
  });

  it("logs its state on SIGUSR2 as an event of its own", async () => {
    const d = await daemon().start();
    d.signal("SIGUSR2");
    await until("the status", () => d.events("daemon.status").length === 1);
    expect(d.events("daemon.status")[0]).toMatchObject({
      hostname: "rx.example.org",
      smtp: expect.stringMatching(/^running: 0 sessions/),
      scheduler: "running: no outgoing report is open",
    });
    expect(d.events("daemon.hint")).toEqual([]);
  });

  it("a log directory that went away ended the daemon on SIGUSR1: the old file is written on", async () => {
    const d = daemon();
    const logs = join(d.dir, "logs");
    mkdirSync(logs);
    const text = readFileSync(d.configFile, "utf8");
    writeFileSync(d.configFile, text.replace("[smtp]", `[log]\nfile = "${logs}/log"\n[smtp]`));
    await d.startQuiet();
    const lines = (path: string) => readFileSync(path, "utf8").split("\n").filter(Boolean);
    const logged = (path: string) => {
      const before = lines(path).length;
      d.signal("SIGUSR2");
      return until("a line", () => lines(path).length > before);
    };
    renameSync(logs, `${logs}.old`);
    d.signal("SIGUSR1");
    await until("the failed reopening", async () => (await d.statsNow())["log.lost"] === 1);
    await logged(`${logs}.old/log`);
    mkdirSync(logs);
    d.signal("SIGUSR1");
    await until("the new file", () => existsSync(`${logs}/log`));
    await logged(`${logs}/log`);
    expect(await d.stop("SIGTERM")).toBe(0);
  });

  it("leaves no debugger open, however early SIGUSR1 comes", async () => {
    const d = daemon();
    const starting = d.start();
    // until Node catches the signal at all, it ends a process; from then on, it would open the debugger
    const caught = () => {
      const mask = /SigCgt:\s*([0-9a-f]+)/.exec(readFileSync(`/proc/${d.pid}/status`, "utf8"))?.[1] ?? "0";
      return (BigInt(`0x${mask}`) >> 9n) & 1n;
    };
    await until("SIGUSR1 to be caught", () => d.pid > 0 && caught() === 1n);
    for (let i = 0; i < 50; i++) {
      d.signal("SIGUSR1");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await starting;
    d.signal("SIGUSR1");
    const isOpen = () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(9229, "127.0.0.1");
        socket.once("connect", () => {
          socket.destroy();
          resolve(true);
        });
        socket.once("error", () => resolve(false));
      });
    await until("the debugger's port to be closed", async () => !(await isOpen()));
    d.signal("SIGUSR1");
    expect(d.ctl("ping").code).toBe(0);
    expect(await isOpen()).toBe(false);
  });

  it("is not stopped by a reader of its log that stands still, and tells it all when it goes on", async () => {
    const d = await daemon({ config: "[receive]\nverify = false\n" }).start();
    d.readLog(false);
    const mails = Array.from({ length: 1000 }, (_, n) => ({
      to: "dmarc@example.org",
      data: dmarcMail({ id: `r-${n}` }),
    }));
    const replies: string[] = [];
    await sendAll(d.smtpPort, mails, 4, (_, reply) => replies.push(reply));
    expect(replies.filter((reply) => reply.startsWith("250"))).toHaveLength(1000);
    await until(
      "all mail to be parsed",
      async () => (await d.statsNow())["archive.report.dmarc"] === 1000,
      60_000,
    );
    expect(await d.statsNow()).toMatchObject({ "log.lost": 0 });
    expect(d.events("mail.accepted").length).toBeLessThan(1000);
    d.readLog(true);
    expect(await d.stop("SIGTERM")).toBe(0);
    expect(d.events("mail.accepted")).toHaveLength(1000);
    expect(d.events("report.stored")).toHaveLength(1000);
    expect(d.events("daemon.stopped")).toHaveLength(1);
  });

  it("ends though nobody reads its log", async () => {
    const d = await daemon({ config: "[receive]\nverify = false\n" }).start();
    d.readLog(false);
    const mails = Array.from({ length: 400 }, (_, n) => ({
      to: "dmarc@example.org",
      data: dmarcMail({ id: `r-${n}` }),
    }));
    await sendAll(d.smtpPort, mails, 4);
    d.signal("SIGTERM");
    await until("the process to be gone", () => d.gone);
    d.readLog(true);
    expect(await d.ended()).toBe(0);
  });

  it("mailreportctl stop ends it", async () => {
    const d = await daemon().start();
    expect(d.ctl("stop").code).toBe(0);
    expect(await d.ended()).toBe(0);
  });

  it("without a daemon the client says so and exits with 69; a wrong command is 64", () => {
    const dir = newStateFolder();
    const none = run(MAILREPORTCTL, ["-S", join(dir, "no.sock"), "show", "queue"], dir);
    expect(none.code).toBe(69);
    expect(none.stderr).toContain("mailreportd is not running");
    expect(run(MAILREPORTCTL, ["shwo"], dir).code).toBe(64);
  });

  it("the version is the package's", () => {
    const version = run(MAILREPORTD, ["--version"], "/");
    expect(version).toMatchObject({ code: 0 });
    expect(version.stdout.trim()).toBe(
      `mailreportd ${(JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version}`,
    );
  });
});
