/** A small file system in memory, for tests of a full disk. Only root can mount one. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class SmallDisk {
  readonly path: string;

  /** @param size as mount knows it: `4m` @param path where it is mounted; default: a new folder */
  constructor(size: string, path: string = mkdtempSync(join(tmpdir(), "small-disk-"))) {
    mkdirSync(path, { recursive: true });
    this.path = path;
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "none", this.path]);
    if (mounted.status !== 0) {
      rmSync(this.path, { recursive: true });
      throw new Error(`cannot mount: ${mounted.stderr}`);
    }
  }

  /** Uses all space but `leave` KiB. */
  fill(leave = 0): void {
    const reserve = join(this.path, "reserve");
    writeFileSync(reserve, Buffer.alloc(leave * 1024));
    const file = openSync(join(this.path, "filler"), "a");
    try {
      for (const size of [65_536, 4096, 1]) {
        const bytes = Buffer.alloc(size);
        while (written(file, bytes) === size);
      }
    } finally {
      closeSync(file);
      rmSync(reserve);
    }
  }

  /** Frees it again. */
  free(): void {
    rmSync(join(this.path, "filler"), { force: true });
  }

  remove(): void {
    spawnSync("umount", ["-l", this.path]);
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Bytes written; 0 when the disk is full. */
function written(file: number, bytes: Buffer): number {
  try {
    return writeSync(file, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") return 0;
    throw error;
  }
}

let possible: boolean | undefined;

/** Whether this process can mount one. */
export function canMount(): boolean {
  if (possible === undefined) {
    try {
      new SmallDisk("64k").remove();
      possible = true;
    } catch (error) {
      possible = false;
      console.warn(`tests of a full disk are skipped: ${String(error)}`);
    }
  }
  return possible;
}
