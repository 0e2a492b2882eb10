/**
 * A clean Debian root to install into, as an operator has it: made by debootstrap from the mirror that apt is
 * configured with, with Node.js and npm of this machine, since Debian's own is too old. Needs root.
 *
 * Every command runs in a mount namespace of its own, so that nothing stays mounted; those that need no network run in
 * a network namespace, in which the loopback interface is the only one.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { until } from "./wait.ts";

export interface Ran {
  readonly code: number | null;
  readonly out: string;
}

/** What a Debian system has beyond debootstrap's smallest variant. */
const PACKAGES = "ca-certificates,logrotate,openssl,procps,systemd";
const ENVIRONMENT = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
  DEBIAN_FRONTEND: "noninteractive",
};

/** The first Debian archive in apt's configuration: the mirror of this machine. */
function mirror(): string {
  const files = ["sources.list", ...names("/etc/apt/sources.list.d").map((n) => join("sources.list.d", n))]
    .map((name) => join("/etc/apt", name))
    .filter((path) => existsSync(path) && /\.(list|sources)$/.test(path));
  const uris = files.flatMap(
    (path) => readFileSync(path, "utf8").match(/https?:\/\/[^\s\]]+\/debian\/?(?=\s|$)/gm) ?? [],
  );
  return uris[0] ?? "http://deb.debian.org/debian";
}

const names = (path: string): string[] => (existsSync(path) ? readdirSync(path) : []);

export class DebianRoot {
  readonly path: string;
  readonly #holder: ChildProcess;

  private constructor(path: string, holder: ChildProcess) {
    this.path = path;
    this.#holder = holder;
  }

  /** Makes the root in a folder. Errors: debootstrap's own words. */
  static async make(path: string): Promise<DebianRoot> {
    const ran = spawnSync(
      "debootstrap",
      ["--variant=minbase", `--include=${PACKAGES}`, "bookworm", path, mirror()],
      { encoding: "utf8", maxBuffer: 1 << 26 },
    );
    if (ran.status !== 0) throw new Error(`debootstrap: ${ran.stdout.slice(-2000)}${ran.stderr}`);
    installNode(path);
    takeOverNetworkSettings(path);
    const script = `ip link set lo up && mount -t proc proc ${path}/proc && echo ready && exec sleep infinity`;
    const holder = spawn("unshare", ["--net", "--mount", "sh", "-c", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    holder.stdout!.on("data", (chunk) => {
      said += chunk;
    });
    await until("the namespaces", () => said.includes("ready"), 60_000);
    return new DebianRoot(path, holder);
  }

  /** A path inside the root, as this process sees it. */
  at(path: string): string {
    return join(this.path, path);
  }

  write(path: string, text: string, mode = 0o644): void {
    mkdirSync(dirname(this.at(path)), { recursive: true });
    writeFileSync(this.at(path), text, { mode });
  }

  /** The argument vector that runs a program inside; with `network` it reaches what this machine reaches. */
  #inside(words: readonly string[], network: boolean): string[] {
    const namespaces = network ? ["--mount"] : ["--mount", "--net"];
    return ["nsenter", "--target", String(this.#holder.pid), ...namespaces, "chroot", this.path, ...words];
  }

  /** Runs a shell command inside. */
  run(command: string, { directory = "/", network = false, user = "root" } = {}): Promise<Ran> {
    const shell = ["sh", "-c", `cd '${directory}' && ${command}`];
    const words = user === "root" ? shell : ["runuser", "-u", user, "--", ...shell];
    const child = this.start(words, network);
    let out = "";
    for (const stream of [child.stdout!, child.stderr!])
      stream.on("data", (chunk) => {
        out += chunk;
      });
    return new Promise((resolve) => child.once("close", (code) => resolve({ code, out })));
  }

  /** Starts a program inside; its process id is that of the program. */
  start(words: readonly string[], network = false): ChildProcess {
    const [command, ...args] = this.#inside(words, network);
    return spawn(command!, args, { env: ENVIRONMENT, stdio: ["ignore", "pipe", "pipe"] });
  }

  /** Ends what keeps the namespaces. */
  stop(): void {
    this.#holder.kill("SIGKILL");
  }

  /** Removes all files of the root, which takes long on a busy disk. Call stop() first. */
  remove(): Promise<void> {
    return rm(this.path, { recursive: true, force: true });
  }
}

/** Node.js, npm and the headers that node-gyp compiles with. */
function installNode(path: string): void {
  const prefix = dirname(dirname(process.execPath));
  const to = join(path, "usr");
  copyFileSync(process.execPath, join(to, "bin/node"));
  mkdirSync(join(to, "lib/node_modules"), { recursive: true });
  for (const name of ["lib/node_modules/npm", "include/node"])
    cpSync(join(prefix, name), join(to, name), { recursive: true });
  for (const name of ["npm", "npx"])
    writeFileSync(
      join(to, "bin", name),
      `#!/bin/sh\nexec node /usr/lib/node_modules/npm/bin/${name}-cli.js "$@"\n`,
      {
        mode: 0o755,
      },
    );
}

/** How this machine resolves names, which authorities it trusts and where npm finds the headers of Node.js. */
function takeOverNetworkSettings(path: string): void {
  for (const name of ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"])
    if (existsSync(name)) copyFileSync(name, join(path, name));
  mkdirSync(join(path, "usr/etc"), { recursive: true });
  writeFileSync(
    join(path, "usr/etc/npmrc"),
    "cafile=/etc/ssl/certs/ca-certificates.crt\nnodedir=/usr\nupdate-notifier=false\naudit=false\nfund=false\n",
  );
}

/** A folder for a root; not below a directory that is mounted with nodev. */
export const rootFolder = (): string =>
  join(process.env.MAILREPORTD_TEST_ROOTS ?? tmpdir(), `mailreportd-root-${process.pid}`);
