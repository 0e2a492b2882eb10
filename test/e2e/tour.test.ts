/** The tour of the README, command by command, as a new user types it. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";
import { MAILREPORTCTL, MAILREPORTD } from "../support/daemon.ts";
import { removeFolder } from "../support/failed.ts";
import { NetNamespace } from "../support/net-namespace.ts";
import { stepsOf } from "../support/readme.ts";
import { until } from "../support/wait.ts";

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
  /** The ports of the try-out are fixed. */
  let network: NetNamespace;
  let daemon: ChildProcess;
  let sink: ChildProcess | undefined;
  let said = "";
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "mailreportd-tour-"));
    for (const name of ["contrib", "node_modules", "package.json"])
      symlinkSync(join(ROOT, name), join(dir, name));
    network = await NetNamespace.make();
    const [program, args] = network.command(process.execPath, MAILREPORTD, "-d");
    daemon = spawn(program, args, { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
    daemon.stderr!.on("data", (chunk) => {
      said += chunk;
    });
    await until("the daemon", () => /daemon\.ready/.test(said));
  });
  afterAll(async () => {
    sink?.kill();
    daemon.kill("SIGTERM");
    await new Promise((resolve) => daemon.once("close", resolve));
    network.stop();
    removeFolder(dir);
  });

  it("the first lines tell how to try it", () => {
    expect(said).toContain("127.0.0.1:2525");
    expect(said).toContain("mailreportctl import");
  });

  const tour = stepsOf("tour").filter((step) => step.kind === "command");
  it("shows both directions", () => {
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

  /** Starts the sink of the tour, which runs until the end. */
  async function startSink(words: string): Promise<void> {
    const [program, args] = network.command("sh", "-c", `exec ${words.slice(0, -1)}`);
    sink = spawn(program, args, { cwd: dir, stdio: ["ignore", "pipe", "inherit"] });
    let out = "";
    sink.stdout!.on("data", (chunk) => {
      out += chunk;
    });
    await until("the sink to listen", () => out.includes("sink on"));
  }

  async function follow(command: string, shown: readonly string[]): Promise<void> {
    const words = command.replaceAll("npx mailreportctl", `'${process.execPath}' '${MAILREPORTCTL}'`);
    if (words.endsWith("&")) return startSink(words);
    const look = () => {
      const [program, args] = network.command("sh", "-c", words);
      const ran = spawnSync(program, args, { cwd: dir, encoding: "utf8" });
      return { code: ran.status, out: squeeze(ran.stdout + ran.stderr) };
    };
    const wanted = shown.map(pattern);
    let last = look();
    // a delivery takes time: commands that show are repeated, those that change are not
    if (/ show /.test(command)) {
      await until(`${command} to show it`, () => {
        last = look();
        return last.code === 0 && wanted.every((p) => p.test(last.out));
      }).catch(() => undefined);
    }
    expect(last.code, `${command}\n${last.out}`).toBe(0);
    for (const [i, p] of wanted.entries()) expect(last.out, `${command}: ${shown[i]}`).toMatch(p);
  }

  it("works command by command", async () => {
    for (const { command, shown } of tour) await follow(command, shown);
  });
});
