/** The tour of the README, command by command, as a new user types it. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";
import { MAILREPORTCTL, MAILREPORTD } from "../support/daemon.ts";
import { until } from "../support/wait.ts";

interface Step {
  readonly command: string;
  /** What the README shows below the command; `…` stands for anything. */
  readonly shown: string[];
}

function steps(readme: string): Step[] {
  const tour = /<!-- tour -->([\s\S]*?)<!-- \/tour -->/.exec(readme)?.[1] ?? "";
  const found: { command: string; shown: string[] }[] = [];
  for (const [, block] of tour.matchAll(/```console\n([\s\S]*?)```/g)) {
    for (const line of block!.split("\n")) {
      if (line.startsWith("$ ")) found.push({ command: line.slice(2), shown: [] });
      else if (line !== "") found.at(-1)?.shown.push(line);
    }
  }
  return found;
}

const squeeze = (text: string) => text.replace(/\s+/g, " ").trim();
const pattern = (line: string) =>
  new RegExp(
    squeeze(line)
      .split("…")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".*"),
  );

describe("the README's tour", () => {
  let dir: string;
  let daemon: ChildProcess;
  let sink: ChildProcess | undefined;
  let said = "";
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "mailreportd-tour-"));
    for (const name of ["contrib", "node_modules", "package.json"])
      symlinkSync(join(ROOT, name), join(dir, name));
    daemon = spawn(process.execPath, [MAILREPORTD, "-d"], { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
    daemon.stderr!.on("data", (chunk) => {
      said += chunk;
    });
    await until("the daemon", () => /daemon\.ready/.test(said));
  });
  afterAll(async () => {
    sink?.kill();
    daemon.kill("SIGTERM");
    await new Promise((resolve) => daemon.once("close", resolve));
    rmSync(dir, { recursive: true, force: true });
  });

  it("the first lines tell how to try it", () => {
    expect(said).toContain("127.0.0.1:2525");
    expect(said).toContain("mailreportctl import");
  });

  const tour = steps(readFileSync(join(ROOT, "README.md"), "utf8"));
  it("has the whole way in it", () => {
    const commands = tour.map((step) => step.command).join("\n");
    for (const part of [
      "import ",
      "show received",
      "show sources",
      "feed -",
      "show reports",
      "preview",
      "report send",
      "show queue",
      "show stats",
    ]) {
      expect(commands).toContain(part);
    }
  });

  for (const { command, shown } of tour) {
    it(`$ ${command}`, async () => {
      const words = command.replaceAll("npx mailreportctl", `'${process.execPath}' '${MAILREPORTCTL}'`);
      if (words.endsWith("&")) {
        sink = spawn("sh", ["-c", `exec ${words.slice(0, -1)}`], {
          cwd: dir,
          stdio: ["ignore", "pipe", "inherit"],
        });
        let out = "";
        sink.stdout!.on("data", (chunk) => {
          out += chunk;
        });
        await until("the sink to listen", () => out.includes("sink on"));
        return;
      }
      const look = () => {
        const ran = spawnSync("sh", ["-c", words], { cwd: dir, encoding: "utf8" });
        return { code: ran.status, out: squeeze(ran.stdout + ran.stderr) };
      };
      const wanted = shown.map(pattern);
      let last = look();
      // deliveries take a moment: only looking is repeated, never doing
      if (/ show /.test(command)) {
        await until(`${command} to show it`, () => {
          last = look();
          return last.code === 0 && wanted.every((p) => p.test(last.out));
        }).catch(() => undefined);
      }
      expect(last.code, last.out).toBe(0);
      for (const [i, p] of wanted.entries()) expect(last.out, shown[i]).toMatch(p);
    });
  }
});
