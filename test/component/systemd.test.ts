import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";
import { needs, program } from "../support/have.ts";

describe("the systemd unit", () => {
  const unit = join(ROOT, "etc/systemd/system/mailreportd.service");
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "unit-"));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it("is sandboxed to a score of 1.8 or better", (context) => {
    needs(context, program("systemd-analyze"));
    const ran = spawnSync("systemd-analyze", ["security", "--offline=true", "--threshold=18", unit], {
      encoding: "utf8",
    });
    expect(ran.stdout + ran.stderr).toMatch(/Overall exposure level for mailreportd\.service: 1\.[0-8]/);
    expect(ran.status).toBe(0);
  });

  it("has no unknown directive", (context) => {
    needs(context, program("systemd-analyze"));
    // the programs it names are not installed here; stand-ins are
    const copy = join(dir, "mailreportd.service");
    cpSync(unit, copy);
    writeFileSync(
      copy,
      readFileSync(copy, "utf8")
        .replaceAll(/^(Exec\w+=)mailreport\w+/gm, "$1/bin/true")
        .replace(/^(User|Group|SupplementaryGroups)=.*$/gm, ""),
    );
    const ran = spawnSync("systemd-analyze", ["verify", "--man=no", copy], { encoding: "utf8" });
    expect(ran.stderr.split("\n").filter((line) => line.includes("mailreportd"))).toEqual([]);
  });

  it("restarts after a crash, not after a mistake of the configuration", () => {
    const text = readFileSync(unit, "utf8");
    expect(text).toMatch(/^Restart=on-failure$/m);
    expect(text).toMatch(/^RestartPreventExitStatus=.*\b78\b/m);
  });
});
