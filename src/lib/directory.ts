/** Making directories. */
import { mkdirSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";

/**
 * Makes a directory and those above it that are missing, each with `mode` less the umask. One that exists stays as it is.
 * Not `mkdirSync` with `recursive`: that never returns where a file system refuses with ENOENT below a directory that
 * exists, as /proc does (Node 20).
 * Errors: those of the system calls; EEXIST or ENOTDIR when something else is in the way.
 */
export function makeDirectory(path: string, mode = 0o777): void {
  const full = resolve(path);
  if (isDirectory(full)) return;
  const parent = dirname(full);
  if (parent !== full) makeDirectory(parent, mode);
  try {
    mkdirSync(full, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST" || !isDirectory(full)) throw error; // another process may have made it meanwhile
  }
}

/** Errors: those of stat but for ENOENT. */
function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
