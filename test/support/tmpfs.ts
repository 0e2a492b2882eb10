/** A small file system that can be filled up; only root can make one. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

function run(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

let known: boolean | undefined;

/** True when this user can mount a tmpfs; tests that need one are skipped aloud otherwise. */
export function canMount(): boolean {
  if (known !== undefined) return known;
  const dir = mkdtempSync(join(tmpdir(), "mount-"));
  known = run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir) && run("umount", dir);
  rmSync(dir, { recursive: true, force: true });
  return known;
}

export class SmallDisk {
  readonly dir: string;

  constructor(dir: string, size: string) {
    mkdirSync(dir, { recursive: true });
    if (!run("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", dir))
      throw new Error(`cannot mount ${dir}`);
    this.dir = dir;
  }

  /** Uses up all space but `leave` KiB. */
  fill(leave = 0): void {
    const reserve = join(this.dir, "reserve");
    write(reserve, leave);
    write(join(this.dir, "filler"), Number.POSITIVE_INFINITY);
    rmSync(reserve, { force: true });
  }

  /** Gives the space back. */
  free(): void {
    rmSync(join(this.dir, "filler"), { force: true });
  }

  unmount(): void {
    run("umount", "-l", this.dir);
  }
}

/** Writes KiB until the disk is full. */
function write(path: string, kib: number): void {
  const descriptor = openSync(path, "a");
  const block = Buffer.alloc(1024);
  try {
    for (let n = 0; n < kib; n++) writeSync(descriptor, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(descriptor);
  }
}
