/** What the programs, the units and the README say of directories, sockets and groups: it must be the same. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/schema.ts";
import { socketPath } from "../../src/ctl/client.ts";
import { RUNTIME_DIRECTORY } from "../../src/lib/paths.ts";
import { ROOT } from "../support/build.ts";
import { stepsOf } from "../support/readme.ts";
import { UnitFile } from "../support/unit-file.ts";

const unit = new UnitFile(join(ROOT, "etc/systemd/system/mailreportd.service"));
const text = (path: string) => readFileSync(join(ROOT, path), "utf8");
const linesOf = (path: string) =>
  text(path)
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.trim().split(/\s+/));
const environment = { hostname: "mx.example.org", directory: "/", packageRoot: ROOT };

/** The configuration of the README's installation; its key and certificate are not on this machine. */
function readmeConfig(): Config {
  const step = stepsOf("for-real").find((each) => each.kind === "file" && each.path.endsWith(".conf"));
  if (step?.kind !== "file") throw new Error("the README has no configuration");
  const dir = mkdtempSync(join(tmpdir(), "readme-"));
  try {
    const file = join(dir, "mailreportd.conf");
    writeFileSync(file, step.text.replace(/^tls_(certificate|key) = .*$/gm, ""));
    const loaded = loadConfig(file, environment);
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
    return loaded.config;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

describe("an installation", () => {
  it("the control socket was where mailreportctl does not look: both use one default", () => {
    const config = readmeConfig();
    expect(config.control.socket).toBe(socketPath(undefined, {}));
    expect(config.control.socket).toBe(`${RUNTIME_DIRECTORY}/control.sock`);
    expect(text("etc/man/mailreportd.8")).toContain(config.control.socket);
    expect(text("etc/man/mailreportd.conf.5")).toContain(RUNTIME_DIRECTORY);
  });

  it("the sockets were in a directory that their groups cannot enter: it is open to all", () => {
    const config = readmeConfig();
    for (const feed of config.feed) expect(feed.socket.startsWith(`${RUNTIME_DIRECTORY}/`)).toBe(true);
    expect(config.feed.length).toBeGreaterThan(0);
    expect(`/run/${unit.value("RuntimeDirectory")}`).toBe(RUNTIME_DIRECTORY);
    expect(unit.value("RuntimeDirectoryMode")).toBe("0755");
  });

  it("the groups of the README's sockets exist, and the daemon is a member of each", () => {
    const config = readmeConfig();
    const groups = [config.control.group, ...config.feed.map(({ group }) => group)];
    const sysusers = linesOf("etc/sysusers.d/mailreportd.conf");
    const user = unit.value("User");
    expect(sysusers.filter(([type]) => type === "u").map(([, name]) => name)).toEqual([user]);
    for (const group of groups) {
      expect(sysusers).toContainEqual(["g", group, "-"]);
      expect(sysusers).toContainEqual(["m", user, group]);
      expect(unit.words("SupplementaryGroups")).toContain(group);
    }
    expect(unit.words("SupplementaryGroups").sort()).toEqual([...new Set(groups)].sort());
  });

  it("tmpfiles.d makes the same directories as the unit, with the same modes and owners", () => {
    const owner = [unit.value("User"), unit.value("Group"), "-"];
    expect(linesOf("etc/tmpfiles.d/mailreportd.conf").sort()).toEqual(
      [
        ["d", `/run/${unit.value("RuntimeDirectory")}`, unit.value("RuntimeDirectoryMode"), ...owner],
        ["d", `/var/lib/${unit.value("StateDirectory")}`, unit.value("StateDirectoryMode"), ...owner],
        ["d", `/var/log/${unit.value("LogsDirectory")}`, unit.value("LogsDirectoryMode"), ...owner],
      ].sort(),
    );
  });

  it("the unit lacked its log directory: the one that logrotate rotates", () => {
    expect(text("etc/logrotate.d/mailreportd")).toContain(`/var/log/${unit.value("LogsDirectory")}/*.log {`);
  });

  it("the README's state directory is the one that the unit lets the daemon write to", () => {
    const config = readmeConfig();
    expect(config.state_directory).toBe(`/var/lib/${unit.value("StateDirectory")}`);
    for (const { key_file } of config.dkim)
      expect(key_file.startsWith(`${config.state_directory}/`)).toBe(true);
  });

  it("a relative state directory keeps its sockets to itself", () => {
    const dir = mkdtempSync(join(tmpdir(), "runtime-"));
    const load = (config: string) => {
      writeFileSync(join(dir, "c.conf"), `hostname = "mx.example.org"\n${config}`);
      const loaded = loadConfig(join(dir, "c.conf"), environment);
      if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
      return loaded.config;
    };
    expect(load('state_directory = "var"').control.socket).toBe(join(dir, "var", "control.sock"));
    expect(load('state_directory = "/srv/m"').control.socket).toBe("/run/mailreportd/control.sock");
    const own = load(
      'state_directory = "/srv/m"\nruntime_directory = "run"\n[lmtp]\nlisten = ["./lmtp.sock"]',
    );
    expect(own.control.socket).toBe(join(dir, "run", "control.sock"));
    expect(own.lmtp.listen).toEqual([join(dir, "run", "lmtp.sock")]);
    rmSync(dir, { recursive: true });
  });
});
