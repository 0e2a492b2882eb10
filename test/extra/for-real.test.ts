/** The installation of the README, "For real", word for word on a clean Debian root. */
import type { ChildProcess } from "node:child_process";
import { execFileSync } from "node:child_process";
import { cpSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";
import { DebianRoot, rootFolder } from "../support/debian-root.ts";
import { anyFailed } from "../support/failed.ts";
import { namespaces, needs, program, root } from "../support/have.ts";
import { type Step, stepsOf } from "../support/readme.ts";
import { startUnit } from "../support/unit-start.ts";
import { until } from "../support/wait.ts";

const NEEDS = [root(), program("debootstrap"), program("nsenter"), program("ip"), namespaces()];
const SOURCES = "/root/mailreportd";
const MINUTES = 60_000;

/** Commands that ask a mirror or the registry. */
const usesNetwork = (command: string) => /\b(apt-get|npm ci|npm install)\b/.test(command);
const startsService = (command: string) => /\bsystemctl\b.*\benable --now\b/.test(command);
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const pattern = (line: string) => new RegExp(line.trim().split("…").map(escaped).join(".*"));

/** The files of the repository, without what git does not know. */
function copySources(to: string): void {
  const files = execFileSync("git", ["ls-files", "-z"], { cwd: ROOT }).toString().split("\0").filter(Boolean);
  for (const file of files) {
    if (file.startsWith("test/")) continue;
    cpSync(join(ROOT, file), join(to, file));
  }
}

describe("the README's installation", () => {
  let debian: DebianRoot;
  let daemon: ChildProcess | undefined;
  let log = "";
  const possible = NEEDS.every(({ met }) => met);

  beforeAll(async () => {
    if (!possible) return;
    debian = await DebianRoot.make(rootFolder());
    copySources(debian.at(SOURCES));
    // who is there before mailreportd comes; the sources are root's
    for (const user of ["alice", "postfix", "stranger"])
      expect((await debian.run(`useradd --create-home ${user}`)).code).toBe(0);
    // systemd is not the first process here: the test does what the unit says
    debian.write("/usr/local/bin/systemctl", "#!/bin/sh\nexit 0\n", 0o755);
  }, 20 * MINUTES);

  afterAll(async () => {
    if (!possible) return;
    await end();
    debian.stop();
    if (anyFailed()) console.log(`kept: ${debian.path}\n${log}`);
    else await debian.remove();
  }, 20 * MINUTES);

  /** Starts what the unit starts; its output goes to `log`. */
  async function launch(): Promise<ChildProcess> {
    daemon = await startUnit(debian, "mailreportd");
    for (const stream of [daemon.stdout!, daemon.stderr!])
      stream.on("data", (chunk) => {
        log += chunk;
      });
    return daemon;
  }

  async function end(): Promise<void> {
    if (!daemon || daemon.exitCode !== null) return;
    const ended = new Promise((resolve) => daemon!.once("exit", resolve));
    daemon.kill("SIGTERM");
    await ended;
  }

  async function start(): Promise<void> {
    const daemon = await launch();
    await until(
      "the daemon",
      () => {
        if (daemon.exitCode !== null) throw new Error(`ended with ${daemon.exitCode}`);
        return log.includes('"event":"daemon.ready"');
      },
      MINUTES,
    );
  }

  async function follow(step: Step): Promise<void> {
    if (step.kind === "file") {
      debian.write(step.path, step.text);
      return;
    }
    const { command, user, shown } = step;
    const options = {
      directory: user === "root" ? SOURCES : "/home/alice",
      user: user === "root" ? "root" : "alice",
      network: usesNetwork(command),
    };
    const ran = await debian.run(command, options);
    expect(ran.code, `${command}\n${ran.out}\n${log}`).toBe(0);
    for (const line of shown) expect(ran.out, command).toMatch(pattern(line));
    if (startsService(command)) await start();
  }

  let installation: Promise<void> | undefined;

  /** Every step of the README, once for all tests of this file. */
  function installed(): Promise<void> {
    installation ??= (async () => {
      for (const step of stepsOf("for-real")) await follow(step);
    })();
    return installation;
  }

  it("followed word for word: mail, a feed and an operator of the group all connect", {
    timeout: 30 * MINUTES,
  }, async (context) => {
    needs(context, ...NEEDS);
    await installed();
    const stats = JSON.parse((await debian.run("mailreportctl show stats --json", { user: "alice" })).out);
    expect(stats).toMatchObject({ "archive.report.dmarc": 1, "outgoing.open": 2 });
  });

  it("mailreportctl and the feed refuse who is in no group", async (context) => {
    needs(context, ...NEEDS);
    await installed();
    const asked = await debian.run("mailreportctl show status", { user: "stranger" });
    expect(asked.code, asked.out).toBe(77);
    expect(asked.out).toContain("/run/mailreportd/control.sock");
    const fed = await debian.run("socat - UNIX-CONNECT:/run/mailreportd/feed.sock </dev/null", {
      user: "stranger",
    });
    expect(fed.out).toContain("Permission denied");
    const operator = await debian.run("socat - UNIX-CONNECT:/run/mailreportd/feed.sock </dev/null", {
      user: "alice",
    });
    expect(operator.out).toContain("Permission denied");
    const feeder = await debian.run("mailreportctl show status", { user: "postfix" });
    expect(feeder.code, feeder.out).toBe(77);
  });

  it("runs as the unit's user, and pkill -x finds it and nothing else", async (context) => {
    needs(context, ...NEEDS);
    await installed();
    const found = await debian.run("pgrep -x -u _mailreportd mailreportd");
    expect(found.out.trim()).toBe(String(daemon!.pid));
    expect(statSync(`/proc/${daemon!.pid}`).uid).not.toBe(0);
    const manual = await debian.run('test -e "$(npm prefix -g)/share/man/man8/mailreportctl.8"');
    expect(manual.code).toBe(0);
  });

  it("logrotate rotated a log that nobody opened again: the daemon goes on in a new file", async (context) => {
    needs(context, ...NEEDS);
    await installed();
    await end();
    const file = "/var/log/mailreportd/mailreportd.log";
    const configured = await debian.run(
      `printf '[log]\\nfile = "${file}"\\n' >> /etc/mailreportd/mailreportd.conf`,
    );
    expect(configured.code).toBe(0);
    await launch();
    const read = async (path: string) => (await debian.run(`cat ${path}`)).out;
    await until("the log file", async () => (await read(file)).includes("daemon.ready"), MINUTES);
    const rotated = await debian.run("logrotate --force /etc/logrotate.d/mailreportd");
    expect(rotated.code, rotated.out).toBe(0);
    await until(
      "a new log file",
      () => debian.run(`test -e ${file}`).then(({ code }) => code === 0),
      MINUTES,
    );
    const asked = await debian.run("mailreportctl log verbose", { user: "alice" });
    expect(asked.code, asked.out).toBe(0);
    expect((await debian.run("mailreportctl reload", { user: "alice" })).code).toBe(0);
    await until(
      "the reload in the new file",
      async () => (await read(file)).includes("daemon.reloaded"),
      MINUTES,
    );
    expect(await read(`${file}.1`)).not.toContain("daemon.reloaded");
  });
});
