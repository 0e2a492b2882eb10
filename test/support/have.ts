import { spawnSync } from "node:child_process";

/** True when a program of the system is installed; tests that need it are skipped aloud without it. */
export function have(program: string): boolean {
  return (
    spawnSync("sh", ["-c", `command -v ${program}`], {
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    }).status === 0
  );
}

/** True when a Perl module is installed. */
export function havePerl(module: string): boolean {
  return have("perl") && spawnSync("perl", [`-M${module}`, "-e", "1"]).status === 0;
}

/** A Python that has a module (Debian's own first), or undefined. */
export function pythonWith(module: string): string | undefined {
  return ["/usr/bin/python3", "python3"].find(
    (python) => spawnSync(python, ["-c", `import ${module}`]).status === 0,
  );
}
