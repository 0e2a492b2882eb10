/**
 * Builds dist/ once before the tests, when a source file is newer. The ingest process, the reader worker and the
 * end-to-end tests run the built program, as operators do.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const STAMP = join(ROOT, "dist", ".built");
const LOCK = join(ROOT, "node_modules", ".mailreportd-build-lock");

function newest(dir: string): number {
  let time = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return time;
}

function built(): number {
  return statSync(STAMP, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function withLock(work: () => void): void {
  const giveUp = Date.now() + 120_000;
  for (;;) {
    try {
      mkdirSync(LOCK);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const age = Date.now() - (statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age > 100_000 || Date.now() > giveUp) rmSync(LOCK, { recursive: true, force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    }
  }
  try {
    work();
  } finally {
    rmSync(LOCK, { recursive: true, force: true });
  }
}

export default function setup(): void {
  if (process.env.MAILREPORTD_SKIP_BUILD) return;
  const wanted = Math.max(newest(join(ROOT, "src")), statSync(join(ROOT, "tsconfig.json")).mtimeMs);
  if (built() > wanted) return;
  withLock(() => {
    if (built() > wanted) return;
    // a module that was renamed must not stay under its old name
    rmSync(join(ROOT, "dist"), { recursive: true, force: true });
    execFileSync(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", ROOT], {
      cwd: ROOT,
      stdio: "inherit",
    });
    writeFileSync(STAMP, "");
  });
}
