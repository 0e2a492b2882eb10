/**
 * A network of its own for programs with fixed ports: a loopback interface and nothing else, so that a second run of the
 * tests, or a daemon that somebody tries out, uses the same ports without a conflict. Where the system allows no
 * namespaces, programs run in the network of this process.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { have } from "./have.ts";
import { until } from "./wait.ts";

/** Root makes a network namespace; others may where the system allows user namespaces. */
const OPTIONS = process.getuid?.() === 0 ? ["--net"] : ["--user", "--map-root-user", "--net"];
const UP = "ip link set lo up";

export class NetNamespace {
  readonly #holder: ChildProcess | undefined;

  private constructor(holder: ChildProcess | undefined) {
    this.#holder = holder;
  }

  static async make(): Promise<NetNamespace> {
    const possible =
      have("unshare") &&
      have("nsenter") &&
      have("ip") &&
      spawnSync("unshare", [...OPTIONS, "sh", "-c", UP]).status === 0;
    if (!possible) return new NetNamespace(undefined);
    const holder = spawn("unshare", [...OPTIONS, "sh", "-c", `${UP} && echo ready && exec sleep infinity`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    holder.stdout!.on("data", (chunk) => {
      said += chunk;
    });
    await until("the namespace", () => said.includes("ready"));
    return new NetNamespace(holder);
  }

  /** The words that run a program inside, with the process id of the program. */
  command(...words: string[]): [string, string[]] {
    if (!this.#holder) return [words[0]!, words.slice(1)];
    const spaces = OPTIONS.includes("--user") ? ["--user", "--preserve-credentials", "--net"] : ["--net"];
    return ["nsenter", ["--target", String(this.#holder.pid), ...spaces, ...words]];
  }

  stop(): void {
    this.#holder?.kill("SIGKILL");
  }
}
