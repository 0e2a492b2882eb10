/** The built daemon, for benchmarks: without limits for one address, without verification, without a network. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** Waits for a line on the standard output of a program; later output is read and discarded. */
export async function started(child, pattern) {
  let text = "";
  return new Promise((resolve, reject) => {
    const look = (chunk) => {
      text += chunk;
      const match = pattern.exec(text);
      if (!match) return;
      child.stdout.off("data", look).resume();
      resolve(match);
    };
    child.stdout.on("data", look);
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });
}

/** Runs `work(port, pid, folder)` with a daemon of its own; `archive`: a database that becomes its archive. */
export async function withDaemon(work, { archive } = {}) {
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  writeFileSync(
    join(dir, "c.conf"),
    `hostname = "rx.example.org"\nstate_directory = "var"\nallow_root = true\n[smtp]\nlisten = ["127.0.0.1:0"]\nmax_connections_per_address = 200\nconnections_per_minute = 100000\nmessages_per_minute = 1000000\n[[recipient]]\naddress = "@example.org"\n[receive]\nverify = false\n[dns]\nzone_file = "zone"\nzone_only = true\n[log]\nlevel = "info"\n`,
  );
  writeFileSync(join(dir, "zone"), "");
  if (archive !== undefined) {
    mkdirSync(join(dir, "var"));
    renameSync(archive, join(dir, "var", "archive.db"));
  }
  const child = spawn(
    process.execPath,
    [join(ROOT, "dist/bin/mailreportd.js"), "-F", "-f", join(dir, "c.conf")],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  try {
    const match = await started(
      child,
      /"event":"smtp\.listening"[^\n]*"port":(\d+)[\s\S]*"event":"daemon\.ready"/,
    );
    return await work(Number(match[1]), child.pid, dir);
  } finally {
    child.kill("SIGTERM");
    await new Promise((resolve) => child.once("close", resolve));
    rmSync(dir, { recursive: true, force: true });
  }
}
