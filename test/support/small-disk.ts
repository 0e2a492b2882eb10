/** A small file system of its own, to be filled and emptied: only root may mount one. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** True where a tmpfs can be mounted. */
export function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(join(tmpdir(), "mount-probe-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]).status === 0;
  if (mounted) spawnSync("umount", [folder]);
  rmSync(folder, { recursive: true, force: true });
  return mounted;
}

export class SmallDisk {
  readonly path: string;

  constructor(megabytes: number) {
    this.path = mkdtempSync(join(tmpdir(), "small-disk-"));
    const { status, stderr } = spawnSync("mount", [
      ...["-t", "tmpfs", "-o", `size=${megabytes}m`],
      ...["tmpfs", this.path],
    ]);
    if (status !== 0) throw new Error(`mount: ${stderr}`);
  }

  get #ballast(): string {
    return join(this.path, "ballast");
  }

  /** Writes until nothing more fits. */
  fill(): void {
    const file = openSync(this.#ballast, "w");
    try {
      for (let size = 1 << 20; size >= 512; ) {
        try {
          writeSync(file, Buffer.alloc(size));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
          size >>= 1;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.#ballast, { force: true });
  }

  /** Unmounts and removes it. */
  remove(): void {
    spawnSync("umount", ["-l", this.path]);
    rmSync(this.path, { recursive: true, force: true });
  }
}
