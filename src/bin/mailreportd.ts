#!/usr/bin/env node
/** The daemon's program: arguments, signals, exit codes, nothing else. */

import { close as closeDebugger, url as debuggerUrl } from "node:inspector";
import type { LogSink } from "../lib/log/pino.ts";

// Before anything of ours is imported: without a handler SIGUSR1 opens Node's debugger port to every local user.
let onReopen: () => void = () => {};
process.on("SIGUSR1", () => {
  shutDebugger();
  onReopen();
});

/** A signal that came before the handler was installed may have opened it. */
function shutDebugger(): void {
  if (debuggerUrl() !== undefined && !process.execArgv.some((arg) => arg.startsWith("--inspect")))
    closeDebugger();
}
shutDebugger();

// After the handler: pkill -x and logrotate find the process by this name, which would be "node" otherwise.
process.title = "mailreportd";

const { parseArgs } = await import("node:util");
const { randomBytes } = await import("node:crypto");
const { systemClock } = await import("../lib/clock.ts");
const { errorText, MailreportError } = await import("../lib/errors.ts");
const { EXIT } = await import("../lib/exit.ts");
const { cleanShort } = await import("../lib/text.ts");
const { openLog } = await import("../lib/log/pino.ts");
const { SUBSYSTEMS } = await import("../model/subsystems.ts");
const { findConfig } = await import("../config/find.ts");
const { printConfig } = await import("../config/print.ts");
const { Daemon, environment, VERSION } = await import("../daemon.ts");

const USAGE = `usage: mailreportd [-dFhnv] [-f file] [-P subsystem] [--version]
  -f file       configuration (default /etc/mailreportd/mailreportd.conf; without one, a try-out)
  -F            log JSON lines to standard output (default)
  -d            log for people to standard error
  -v            log debug lines too
  -n            check the configuration and exit
  -nv           check it and print what is in force
  -h            print this text and exit
  -P subsystem  start with it paused: ${SUBSYSTEMS.join(", ")}
  --version     print the version and exit
`;

/** Longest wait, at the end, until the reader of a pipe has taken the last lines of the log. */
const LOG_DRAIN_MS = 1000;

let sink: LogSink | undefined;

function say(text: string): void {
  process.stderr.write(`mailreportd: ${cleanShort(text, 2000)}\n`);
}

/** Runs until the program ends; returns its exit code. */
async function main(): Promise<number> {
  let args: ReturnType<typeof parseArguments>;
  try {
    args = parseArguments();
  } catch (error) {
    process.stderr.write(`mailreportd: ${errorText(error)}\n${USAGE}`);
    return EXIT.USAGE;
  }
  if (args.help) {
    process.stdout.write(USAGE);
    return EXIT.OK;
  }
  if (args.version) {
    process.stdout.write(`mailreportd ${VERSION}\n`);
    return EXIT.OK;
  }
  const found = findConfig(args.file, environment());
  if (!found.ok) {
    for (const line of found.lines) process.stderr.write(`${line}\n`);
    return found.exit;
  }
  if (args.check) {
    if (args.verbose) process.stdout.write(printConfig(found.config));
    process.stderr.write("configuration OK\n");
    return EXIT.OK;
  }
  sink = openLog({
    form: args.human ? "human" : "json",
    level: args.verbose ? "debug" : found.config.log.level,
    ...(found.config.log.file === undefined ? {} : { file: found.config.log.file }),
    descriptor: args.human ? 2 : 1,
    journal: process.env.JOURNAL_STREAM !== undefined && !args.human,
    colour: args.human && process.stderr.isTTY === true && process.env.NO_COLOR === undefined,
  });
  const opened = sink;
  onReopen = () => opened.reopen();
  process.once("exit", () => opened.flush());
  process.on("uncaughtException", die);
  process.on("unhandledRejection", die);

  const daemon = new Daemon({
    config: found.config,
    tryOut: found.tryOut,
    reloadConfig: () => findConfig(args.file, environment()),
    sink: opened,
    clock: systemClock,
    random: (size) => randomBytes(size),
    paused: args.paused,
  });
  let signals = 0;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      signals++;
      if (signals > 1) process.exit(EXIT.NOTHING); // the second one: at once
      void daemon.signal(signal);
    });
  }
  process.on("SIGHUP", () => void daemon.signal("SIGHUP"));
  process.on("SIGUSR2", () => daemon.logStatus());
  shutDebugger();
  await Promise.race([daemon.start(), daemon.stopped]); // a signal may end a start that hangs
  const failure = await daemon.stopped;
  await opened.drained(LOG_DRAIN_MS);
  if (failure !== null) throw failure;
  return EXIT.OK;
}

/** The last resort: all state is on disk, and the service manager starts the daemon again. */
function die(error: unknown): void {
  process.exit(reportEnd(error));
}

/** Tells in one line why the program ends; a bug has its stack in the log. Returns the exit code. */
function reportEnd(error: unknown): number {
  if (error instanceof MailreportError && error.code !== "daemon.bug") {
    say(`${error.message} (${error.code})`);
    return error.exitCode;
  }
  const { cause } = error as { cause?: unknown };
  const bug = error instanceof MailreportError && cause instanceof Error ? cause : error;
  sink?.log.error("daemon.bug", {
    error: errorText(bug),
    stack: bug instanceof Error ? bug.stack : undefined,
  });
  say(`unexpected error, this is a bug: ${errorText(bug)}`);
  return EXIT.SOFTWARE;
}

function parseArguments() {
  const { values, positionals } = parseArgs({
    options: {
      d: { type: "boolean", short: "d" },
      F: { type: "boolean", short: "F" },
      f: { type: "string", short: "f" },
      h: { type: "boolean", short: "h" },
      help: { type: "boolean" },
      n: { type: "boolean", short: "n" },
      P: { type: "string", short: "P", multiple: true },
      v: { type: "boolean", short: "v" },
      version: { type: "boolean" },
    },
    allowPositionals: true,
  });
  if (positionals.length > 0) throw new Error(`unexpected argument: ${positionals[0]}`);
  if (values.d && values.F) throw new Error("-d and -F exclude each other");
  const paused = (values.P ?? []).map((name) => {
    const subsystem = SUBSYSTEMS.find((s) => s === name);
    if (!subsystem) throw new Error(`-P ${name}: not one of ${SUBSYSTEMS.join(", ")}`);
    return subsystem;
  });
  return {
    human: values.d === true,
    file: values.f ?? null,
    help: values.h === true || values.help === true,
    check: values.n === true,
    paused,
    verbose: values.v === true,
    version: values.version === true,
  };
}

try {
  process.exit(await main());
} catch (error) {
  process.exit(reportEnd(error));
}
