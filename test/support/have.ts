/**
 * Probes for programs of the system. A test that needs one which is missing, or which cannot do what the test needs, is
 * skipped with the reason; the summary at the end of the run lists every skipped test.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import type { TestContext } from "vitest";

const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

/** Something that a test needs from the machine. */
export interface Need {
  readonly met: boolean;
  /** What is needed, in words that complete "needs ...". */
  readonly what: string;
}

/** Skips the test, with the reason in the summary, unless all needs are met. Call it first in the test. */
export function needs(context: Pick<TestContext, "skip">, ...all: readonly Need[]): void {
  const missing = all.filter(({ met }) => !met).map(({ what }) => what);
  context.skip(missing.length > 0, `needs ${missing.join(" and ")}`);
}

/** True when a program of the system is installed. */
export function have(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${program}`], { env: { ...process.env, PATH } }).status === 0;
}

export const program = (name: string): Need => ({ met: have(name), what: name });

export const root = (): Need => ({ met: process.getuid?.() === 0, what: "root" });

export const file = (path: string): Need => ({ met: existsSync(path), what: path });

/** True when a Perl module is installed. */
export function havePerl(module: string): boolean {
  return have("perl") && spawnSync("perl", [`-M${module}`, "-e", "1"]).status === 0;
}

/** swaks with one of its optional abilities, as `swaks --support` names them: "TLS", "IPv6", "AUTH CRAM-MD5". */
export function swaksWith(ability: string): Need {
  return { met: supports(swaksSupport(), ability), what: `swaks with ${ability} support` };
}

let support: string | undefined;

function swaksSupport(): string {
  if (support === undefined) {
    const ran = spawnSync("swaks", ["--support"], { encoding: "utf8" });
    support = `${ran.stdout ?? ""}${ran.stderr ?? ""}`;
  }
  return support;
}

/** Whether the text of `swaks --support` says that the ability is there. */
export function supports(text: string, ability: string): boolean {
  return text.split("\n").some((line) => line.trim() === `=== ${ability} supported`);
}

/** A Python that has a module (Debian's own first), or undefined. */
export function pythonWith(module: string): string | undefined {
  return ["/usr/bin/python3", "python3"].find(
    (python) => spawnSync(python, ["-c", `import ${module}`]).status === 0,
  );
}

/** True when this process may make network and mount namespaces. */
export function namespaces(): Need {
  const met = have("unshare") && spawnSync("unshare", ["-n", "-m", "true"]).status === 0;
  return { met, what: "namespaces (unshare -n -m)" };
}
