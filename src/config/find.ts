/** Finds the configuration that a program was asked for: a file, the system's, or the one of the try-out. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../lib/exit.ts";
import { type Environment, formatProblem, loadConfig } from "./load.ts";
import type { Config } from "./schema.ts";

export const SYSTEM_CONFIG = "/etc/mailreportd/mailreportd.conf";

export type Found =
  | { readonly ok: true; readonly config: Config; readonly tryOut: boolean }
  | { readonly ok: false; readonly exit: number; readonly lines: readonly string[] };

/**
 * The configuration in `file`; without one the system's, and without that the try-out: loopback, unprivileged ports,
 * state under ./var, nothing sent beyond this machine.
 */
export function findConfig(file: string | null, environment: Environment): Found {
  const path = file ?? SYSTEM_CONFIG;
  if (file !== null && !existsSync(path)) {
    return { ok: false, exit: EXIT.NOINPUT, lines: [`${path}: no such file`] };
  }
  const tryOut = file === null && !existsSync(path);
  const loaded = tryOut
    ? loadConfig(join(environment.packageRoot, "etc/tryout.conf"), environment, {
        base: environment.directory,
        zoneFile: join(environment.packageRoot, "contrib/tour/zone"),
      })
    : loadConfig(path, environment);
  if (loaded.ok) return { ok: true, config: loaded.config, tryOut };
  return { ok: false, exit: EXIT.CONFIG, lines: loaded.problems.map(formatProblem) };
}
