/** Directories that are made level by level. */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeStateDirectory } from "../../src/daemon/setup.ts";
import { makeDirectory } from "../../src/lib/directory.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "directory-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("a directory", () => {
  it("is made with those above it, and stays as it is when it exists", () => {
    makeDirectory(join(dir, "a", "b", "c"), 0o700);
    for (const path of ["a", "a/b", "a/b/c"]) expect(statSync(join(dir, path)).mode & 0o777).toBe(0o700);
    makeDirectory(join(dir, "a"), 0o755);
    expect(statSync(join(dir, "a")).mode & 0o777).toBe(0o700);
  });

  it("is refused where a file is in the way", () => {
    writeFileSync(join(dir, "file"), "");
    expect(() => makeDirectory(join(dir, "file"))).toThrow(/EEXIST/);
    expect(() => makeDirectory(join(dir, "file", "below"))).toThrow(/EEXIST|ENOTDIR/);
  });

  it.skipIf(!existsSync("/proc/self"))(
    "below /proc the daemon looped for ever: it is refused with its path",
    () => {
      expect(() => makeDirectory("/proc/nowhere/below")).toThrow(/'\/proc\/nowhere'/);
      expect(() => makeStateDirectory("/proc/nowhere")).toThrow(
        expect.objectContaining({ code: "daemon.state_unusable", exitCode: 73 }),
      );
    },
  );
});
