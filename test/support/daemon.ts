/** Runs the built daemon as a process, as operators do, in a folder of its own that a failed test keeps. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./build.ts";
import { removeFolder } from "./failed.ts";
import { until } from "./wait.ts";

/** With `MAILREPORTD_DELAYED_ARCHIVE` set, the archive of all daemons is behind a wrapper that delays its answers. */
export const MAILREPORTD = join(
  ROOT,
  process.env.MAILREPORTD_DELAYED_ARCHIVE ? "test/support/delayed-daemon.js" : "dist/bin/mailreportd.js",
);
export const MAILREPORTCTL = join(ROOT, "dist/bin/mailreportctl.js");

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly [field: string]: unknown;
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface DaemonOptions {
  /** TOML after the defaults of this file. */
  readonly config?: string;
  /** A whole configuration in place of those defaults. */
  readonly whole?: string;
  /** Lines of the zone file, the only source of DNS records. */
  readonly zone?: string;
  readonly dir?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** The folder of one daemon. */
export function newStateFolder(): string {
  return mkdtempSync(join(tmpdir(), "mailreportd-e2e-"));
}

/** The same in memory where the system has a file system for that, for tests that need fast commits on any disk. */
export function newFolderInMemory(): string {
  return mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "mailreportd-e2e-"));
}

export class TestDaemon {
  readonly dir: string;
  readonly lines: LogLine[] = [];
  stderr = "";
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> | undefined;
  readonly #env: NodeJS.ProcessEnv;

  constructor(options: DaemonOptions = {}) {
    this.dir = options.dir ?? newStateFolder();
    this.#env = { ...process.env, ...options.env };
    mkdirSync(this.dir, { recursive: true });
    writeFileSync(join(this.dir, "zone"), options.zone ?? "");
    writeFileSync(this.configFile, options.whole ?? `${DEFAULTS}\n${options.config ?? ""}\n`);
  }

  get configFile(): string {
    return join(this.dir, "mailreportd.conf");
  }

  get socket(): string {
    return join(this.dir, "var", "control.sock");
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Starts and waits until everything listens, or for another event. */
  async start(args: readonly string[] = [], event = "daemon.ready"): Promise<this> {
    const from = this.lines.length;
    const child = this.launch(args);
    await until(`the daemon to log ${event}`, () => {
      if (child.exitCode !== null) {
        throw new Error(`the daemon ended with ${child.exitCode}: ${this.stderr}`);
      }
      return this.lines.slice(from).some((line) => line.event === event);
    });
    return this;
  }

  /** Starts without waiting. */
  launch(args: readonly string[] = []): ChildProcess {
    const child = spawn(process.execPath, [MAILREPORTD, "-F", "-f", this.configFile, ...args], {
      cwd: this.dir,
      env: this.#env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    let rest = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      const parts = (rest + chunk.toString()).split("\n");
      rest = parts.pop()!;
      for (const part of parts) if (part.startsWith("{")) this.lines.push(JSON.parse(part) as LogLine);
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
    this.#ended = new Promise((resolve) => child.once("close", (code) => resolve(code)));
    return child;
  }

  /** Starts one that logs to a file, and waits until it answers. */
  async startQuiet(): Promise<this> {
    this.#child = spawn(process.execPath, [MAILREPORTD, "-F", "-f", this.configFile], {
      cwd: this.dir,
      env: this.#env,
      stdio: "ignore",
    });
    const child = this.#child;
    this.#ended = new Promise((resolve) => child.once("close", (code) => resolve(code)));
    await until("the daemon to answer", async () => (await this.ctlAsync("ping")).code === 0);
    return this;
  }

  /** The port of the first SMTP listener. */
  get smtpPort(): number {
    const line = this.lines.findLast((l) => l.event === "smtp.listening" && l.protocol !== "lmtp");
    return Number(line?.port ?? 0);
  }

  events(event: string): LogLine[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** The process has ended; the end of its log may not have been read yet. */
  get gone(): boolean {
    return this.#child?.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Stops reading the log of the daemon, or resumes. */
  readLog(on: boolean): void {
    if (on) this.#child?.stdout?.resume();
    else this.#child?.stdout?.pause();
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Ends the daemon and waits for it. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (!this.#child) return null;
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal);
    const code = await this.#ended!;
    this.#child = undefined;
    return code;
  }

  async ended(): Promise<number | null> {
    return this.#ended ?? null;
  }

  /** Runs mailreportctl against this daemon. */
  ctl(...args: string[]): Ran {
    return this.ctlInput(undefined, ...args);
  }

  ctlInput(input: string | Buffer | undefined, ...args: string[]): Ran {
    const ran = spawnSync(process.execPath, [MAILREPORTCTL, "-S", this.socket, ...args], {
      cwd: this.dir,
      env: this.#env,
      ...(input === undefined ? {} : { input }),
      maxBuffer: 1 << 28,
      timeout: 300_000,
    });
    return { code: ran.status, stdout: ran.stdout.toString(), stderr: ran.stderr.toString() };
  }

  /** The same without blocking this process, for tests that run servers for the daemon. */
  async ctlAsync(...args: string[]): Promise<Ran> {
    const child = spawn(process.execPath, [MAILREPORTCTL, "-S", this.socket, ...args], {
      cwd: this.dir,
      env: this.#env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { code, stdout, stderr };
  }

  /** `show stats` as an object. */
  stats(): Record<string, number> {
    const ran = this.ctl("show", "stats", "--json");
    if (ran.code !== 0) throw new Error(`show stats: ${ran.stderr}`);
    return JSON.parse(ran.stdout) as Record<string, number>;
  }

  /** The same while the log of the daemon is read, for tests in which it is long. */
  async statsNow(): Promise<Record<string, number>> {
    const ran = await this.ctlAsync("show", "stats", "--json");
    if (ran.code !== 0) throw new Error(`show stats: ${ran.stderr}`);
    return JSON.parse(ran.stdout) as Record<string, number>;
  }

  /** Removes the folder, unless a test of the file has failed. */
  remove(): void {
    removeFolder(this.dir);
  }
}

/** Lines of NDJSON as objects. */
export function ndjson(text: string): Record<string, unknown>[] {
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

const DEFAULTS = `hostname = "rx.example.org"
state_directory = "var"
allow_root = true
[smtp]
listen = ["127.0.0.1:0"]
max_connections_per_address = 100
connections_per_minute = 100000
messages_per_minute = 1000000
[[recipient]]
address = "@reports.example.org"
[[recipient]]
address = "dmarc@example.org"
[dns]
zone_file = "zone"
zone_only = true
`;
