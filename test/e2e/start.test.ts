/** How the built daemon starts where it cannot, or not yet: a full disk, mistakes, files of others. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { MAILREPORTD, TestDaemon } from "../support/daemon.ts";
import { dmarcMail } from "../support/report-mail.js";
import { canMount, SmallDisk } from "../support/small-disk.ts";
import { SmtpClient } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const daemons: TestDaemon[] = [];
const disks: SmallDisk[] = [];
const daemon = (options?: ConstructorParameters<typeof TestDaemon>[0]) => {
  const made = new TestDaemon(options);
  daemons.push(made);
  return made;
};
/** A daemon with its state on a disk of its own. */
const onSmallDisk = (size: string) => {
  const d = daemon({ config: "[receive]\nverify = false\n" });
  const disk = new SmallDisk(size, join(d.dir, "var"));
  disks.push(disk);
  return { d, disk };
};
/** Runs it until it ends. */
const run = (d: TestDaemon, options: { uid?: number } = {}, args: string[] = ["-F"]) => {
  const ran = spawnSync(process.execPath, [MAILREPORTD, ...args, "-f", d.configFile], {
    cwd: d.dir,
    encoding: "utf8",
    timeout: 60_000,
    ...options,
  });
  return {
    code: ran.status,
    stdout: ran.stdout,
    stderr: ran.stderr,
    lines: ran.stderr.trimEnd().split("\n"),
  };
};
const send = async (d: TestDaemon, id: string) => {
  const client = await SmtpClient.open(d.smtpPort);
  const reply = await client.send("a@b.example", "dmarc@example.org", dmarcMail({ id }));
  await client.quit();
  return reply;
};

afterEach(async ({ task }) => {
  for (const d of daemons.splice(0)) {
    await d.stop("SIGKILL");
    for (const disk of disks.splice(0)) disk.remove();
    if (task.result?.state !== "fail") d.remove();
  }
});

describe.skipIf(!canMount())("a full disk", () => {
  it("at start ended the daemon: it answers 452, tells why, and goes on when there is space", async () => {
    const { d, disk } = onSmallDisk("32m");
    disk.fill();
    await d.start([], "smtp.listening");
    expect(await send(d, "r-1")).toMatch(/^452 4\.3\.1/);
    expect(d.events("store.problem")).toHaveLength(1);
    expect(d.events("store.problem")[0]).toMatchObject({ what: "start", code: "store.full" });
    const status = d.ctl("show", "status");
    expect(status.stdout).toMatch(/SMTP waiting/);
    expect(d.ctl("show", "status", "--json").stdout).toContain("no space left");
    const queue = d.ctl("show", "queue");
    expect(queue.code).toBe(74);
    expect(queue.stderr).toContain("no space left");
    disk.free();
    await until("the daemon to be ready", () => d.events("daemon.ready").length === 1, 60_000);
    expect(d.events("store.available")).toHaveLength(1);
    expect(await send(d, "r-2")).toMatch(/^250/);
    expect(d.ctl("show", "status").stdout).toMatch(/SMTP running/);
    expect(await d.statsNow()).toMatchObject({ "archive.report.dmarc": 1, "mail.deferred": 1 });
    expect(await d.stop("SIGTERM")).toBe(0);
  });

  it("at start held up the end of the daemon: SIGTERM ends it with 0, SIGHUP and SIGUSR2 harm nothing", async () => {
    const { d, disk } = onSmallDisk("8m");
    disk.fill();
    await d.start([], "smtp.listening");
    d.signal("SIGHUP");
    d.signal("SIGUSR2");
    await until("the reload", () => d.events("daemon.reloaded").length === 1);
    await until("the status", () => d.events("daemon.status").length === 1);
    expect(await d.stop("SIGTERM")).toBe(0);
    expect(d.events("daemon.stopped")).toHaveLength(1);
    expect(d.events("unit.failed")).toEqual([]);
  });

  it("at the second start ended the daemon: with databases that are there it waits and goes on as well", async () => {
    const { d, disk } = onSmallDisk("32m");
    await d.start();
    expect(await send(d, "r-1")).toMatch(/^250/);
    expect(await d.stop("SIGKILL")).toBeNull();
    disk.fill();
    await d.start([], "smtp.listening");
    await until("a reply", async () => /^452|^250/.test(await send(d, "r-2")));
    disk.free();
    await until("the mail to be accepted", async () => (await send(d, "r-3")).startsWith("250"), 60_000);
    await until("the daemon to be ready", () => d.events("daemon.ready").length === 2, 60_000);
    expect((await d.statsNow())["archive.report.dmarc"]).toBeGreaterThanOrEqual(2);
    expect(await d.stop("SIGTERM")).toBe(0);
  });

  it("while running ended the daemon: mail gets 452, and 250 when there is space again", async () => {
    const { d, disk } = onSmallDisk("32m");
    await d.start();
    const accepted: string[] = [];
    const deliver = async (id: string) => {
      const reply = await send(d, id);
      if (reply.startsWith("250")) accepted.push(id);
      return reply;
    };
    expect(await deliver("r-0")).toMatch(/^250/);
    disk.fill();
    let n = 0;
    await until(
      "a mail to be deferred",
      async () => (await deliver(`full-${n++}`)).startsWith("452"),
      60_000,
    );
    expect(d.ctl("ping").code).toBe(0);
    disk.free();
    await until(
      "a mail to be accepted",
      async () => (await deliver(`space-${n++}`)).startsWith("250"),
      60_000,
    );
    await until(
      "all accepted mail to be parsed",
      async () => (await d.statsNow())["archive.report.dmarc"] === accepted.length,
    );
    expect(await d.stop("SIGTERM")).toBe(0);
  });
});

describe("a start that cannot succeed ends with one line and its exit code", () => {
  const expectLine = (ran: ReturnType<typeof run>, code: number, text: RegExp | string) => {
    expect(ran.stderr).toMatch(text);
    expect(ran.stderr).not.toMatch(/^\s+at /m);
    expect(ran.lines, ran.stderr).toHaveLength(1);
    expect(ran.code).toBe(code);
  };

  it("a damaged database: 74", async () => {
    const d = daemon();
    mkdirSync(join(d.dir, "var"));
    writeFileSync(join(d.dir, "var/queue.db"), "no database, but long enough to have a header".repeat(50));
    const ran = run(d);
    expectLine(ran, 74, /queue\.db: file is not a database \(store\.corrupt\)/);
    const logged = ran.stdout.trimEnd().split("\n");
    // the log was without the reason
    expect(logged.map((line) => JSON.parse(line) as { event: string })).toContainEqual(
      expect.objectContaining({ event: "unit.failed", unit: "start", code: "store.corrupt" }),
    );
  });

  it("a database of a newer version: 78", async () => {
    const d = daemon();
    mkdirSync(join(d.dir, "var"));
    const database = new Database(join(d.dir, "var/queue.db"));
    database.exec("CREATE TABLE x (y)");
    database.pragma("application_id = 9999");
    database.close();
    expectLine(run(d), 78, /store\.newer_schema/);
  });

  it("a port in use: 69, with the address", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    const d = daemon();
    writeFileSync(
      d.configFile,
      readFileSync(d.configFile, "utf8").replace("127.0.0.1:0", `127.0.0.1:${port}`),
    );
    try {
      expectLine(run(d), 69, new RegExp(`127\\.0\\.0\\.1:${port}.*\\(daemon\\.port_in_use\\)`));
    } finally {
      taken.close();
    }
  });

  it("a host name to listen on that does not exist: 69", () => {
    const d = daemon();
    writeFileSync(
      d.configFile,
      readFileSync(d.configFile, "utf8").replace("127.0.0.1:0", "nowhere.invalid:0"),
    );
    expectLine(run(d), 69, /nowhere\.invalid:0.*\(daemon\.cannot_listen\)/);
  });

  const nobody = { uid: 65_534, gid: 65_534 };
  const ownedByRoot = (d: TestDaemon) => {
    chmodSync(d.dir, 0o755);
    chmodSync(join(d.dir, "zone"), 0o644);
    chmodSync(d.configFile, 0o644);
  };
  const isRoot = process.getuid?.() === 0;
  const readable =
    isRoot && spawnSync(process.execPath, [MAILREPORTD, "--version"], { ...nobody }).status === 0;

  it.skipIf(!readable)("a database of another user: 77", () => {
    const d = daemon();
    ownedByRoot(d);
    mkdirSync(join(d.dir, "var"));
    chmodSync(join(d.dir, "var"), 0o777);
    writeFileSync(join(d.dir, "var/queue.db"), "", { mode: 0o600 });
    expectLine(run(d, nobody), 77, /queue\.db.*\(daemon\.no_permission\)/);
  });

  it.skipIf(!readable)("a state directory that cannot be made, told by -n and by the start: 78", () => {
    const d = daemon();
    ownedByRoot(d);
    for (const args of [["-F"], ["-n"]]) {
      expectLine(run(d, nobody, args), 78, /mailreportd\.conf:2:1: state_directory: cannot be made in /);
    }
  });
});

it("SIGTERM while the archive was opened did not end the process: it ends with 0", async () => {
  const d = daemon();
  const child = d.launch();
  const children = `/proc/${child.pid}/task/${child.pid}/children`;
  const started = () => readFileSync(children, "utf8").trim().split(" ").filter(Boolean).map(Number);
  let ingest: number | undefined;
  while (ingest === undefined) {
    await new Promise((resolve) => setImmediate(resolve));
    ingest = started().find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("ingest"));
  }
  process.kill(ingest, "SIGSTOP");
  expect(await d.stop("SIGTERM")).toBe(0);
  expect(d.events("daemon.stopped")).toHaveLength(1);
  expect(d.events("unit.failed")).toEqual([]);
});

describe("an unexpected exception", () => {
  const faulty = (event: string, fault: string) =>
    `--import=data:text/javascript,${encodeURIComponent(`process.on("${event}", () => { ${fault} });`)}`;

  for (const [name, fault] of [
    ["exception", 'throw new Error("injected")'],
    ["rejected promise", 'Promise.reject(new Error("injected"))'],
  ]) {
    it(`ends the daemon as the last resort (${name}): one line, 70, the stack in the log`, async () => {
      const d = await daemon({ env: { NODE_OPTIONS: faulty("SIGURG", fault!) } }).start();
      d.signal("SIGURG");
      expect(await d.ended()).toBe(70);
      expect(d.stderr).toBe("mailreportd: unexpected error, this is a bug: injected\n");
      expect(d.events("daemon.bug")).toHaveLength(1);
      expect(String(d.events("daemon.bug")[0]?.stack)).toContain("Error: injected");
    });
  }
});

describe("mailreportd -n", () => {
  it('said "configuration OK" for what cannot start: everything is told, and the start says the same', () => {
    const d = daemon();
    writeFileSync(
      d.configFile,
      `state_directory = "var"
allow_root = true
[log]
file = "logs/mailreportd.log"
[smtp]
listen = ["192.0.2.1:2525", "127.0.0.1:0"]
[dns]
zone_file = "nowhere/zone"
[control]
group = "no-such-group-here"
`,
    );
    const checked = run(d, {}, ["-n"]);
    expect(checked.code).toBe(78);
    expect(checked.lines.map((line) => line.slice(d.configFile.length + 1))).toEqual([
      `4:1: log.file: ${d.dir}/logs: no such directory`,
      '6:11: smtp.listen[0]: no interface of this machine has the address of "192.0.2.1:2525"',
      `8:1: dns.zone_file: ${d.dir}/nowhere/zone: no such file`,
      '10:1: control.group: no group "no-such-group-here"',
    ]);
    const started = run(d);
    expect(started).toMatchObject({ code: 78, stderr: checked.stderr });
    writeFileSync(d.configFile, '[smtp]\nlisten = ["127.0.0.1:99999"]\n[dns]\nservers = ["foo"]\n');
    expect(run(d, {}, ["-n"]).lines).toHaveLength(2);
  });

  it("finds nothing wrong with a configuration that starts", async () => {
    const d = daemon();
    const checked = run(d, {}, ["-n"]);
    expect(checked).toMatchObject({ code: 0, stderr: "configuration OK\n" });
  });
});
