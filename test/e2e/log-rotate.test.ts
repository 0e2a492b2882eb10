/** logrotate with the configuration in etc/, on the log of a running daemon. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";
import { TestDaemon } from "../support/daemon.ts";
import { needs, program } from "../support/have.ts";
import { until } from "../support/wait.ts";

const NEEDS = [program("logrotate"), program("pkill")];
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

describe("logrotate", () => {
  let d: TestDaemon;
  let logs: string;
  const file = () => join(logs, "mailreportd.log");

  beforeEach(async () => {
    d = new TestDaemon({ config: '[log]\nfile = "log/mailreportd.log"\n' });
    logs = join(d.dir, "log");
    mkdirSync(logs, { mode: 0o750 });
    chmodSync(d.dir, 0o755);
    d.launch();
    await until("the log", () => existsSync(file()) && readFileSync(file(), "utf8").includes("daemon.ready"));
  });
  afterEach(async () => {
    await d.stop();
    d.remove();
  });

  /**
   * The installed configuration for another folder; of all processes of that name only the child of this test gets the
   * signal, and systemd is not asked.
   */
  function configuration(): string {
    const path = join(d.dir, "logrotate.conf");
    const text = readFileSync(join(ROOT, "etc/logrotate.d/mailreportd"), "utf8")
      .replaceAll("/var/log/mailreportd/", `${logs}/`)
      .replace("/run/systemd/system", join(d.dir, "no-systemd"))
      .replace("-u _mailreportd", `-P ${process.pid}`);
    expect(text).toMatch(/pkill -USR1 -x -P \d+ mailreportd /);
    writeFileSync(path, text);
    chmodSync(path, 0o644);
    return path;
  }

  it("the signal reached no process, whose name was node: the daemon opens a new file", async (context) => {
    needs(context, ...NEEDS);
    const ran = spawnSync(
      "logrotate",
      ["--force", "--state", join(d.dir, "logrotate.state"), configuration()],
      { encoding: "utf8", env: { ...process.env, PATH } },
    );
    expect(ran.status, ran.stderr).toBe(0);
    await until("a new log file", () => existsSync(file()));
    expect(d.ctl("reload").code).toBe(0);
    await until("a line in the new file", () => readFileSync(file(), "utf8").includes("daemon.reloaded"));
    const old = readFileSync(`${file()}.1`, "utf8");
    expect(old).toContain("daemon.ready");
    expect(old).not.toContain("daemon.reloaded");
  });

  it("the process is named mailreportd, its children are not", () => {
    const name = (pid: number | string) => readFileSync(`/proc/${pid}/comm`, "utf8").trim();
    expect(name(d.pid)).toBe("mailreportd");
    const children = readFileSync(`/proc/${d.pid}/task/${d.pid}/children`, "utf8").trim().split(" ");
    expect(children.map(name)).not.toContain("mailreportd");
  });
});
