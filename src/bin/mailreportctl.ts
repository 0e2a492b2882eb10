#!/usr/bin/env node
/** The program of the control client: makes its surroundings, runs one command, exits with its code. */
import { readFileSync } from "node:fs";
import { ClientError } from "../ctl/client.ts";
import { ask } from "../ctl/prompt.ts";
import { run, unexpected } from "../ctl/run/run.ts";
import { errorText } from "../lib/errors.ts";
import { EXIT } from "../lib/exit.ts";
import { clean } from "../lib/text.ts";

function bug(error: unknown): never {
  process.stderr.write(unexpected(error));
  process.exit(EXIT.SOFTWARE);
}
process.on("uncaughtException", bug);
process.on("unhandledRejection", bug);
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.OK); // the reader has enough, as with `| head`
  process.stderr.write(`mailreportctl: standard output: ${clean(errorText(error))}\n`);
  process.exit(EXIT.IOERR);
});
process.stderr.on("error", () => {}); // nothing is left to write to

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

process.exitCode = await run({
  args: process.argv.slice(2),
  environment: process.env,
  stdoutIsTTY: process.stdout.isTTY === true,
  columns: process.stdout.columns ?? 120,
  now: Date.now(),
  out: (text) => void process.stdout.write(text),
  outBytes: (bytes) => void process.stdout.write(bytes),
  err: (text) => void process.stderr.write(text),
  stdin: process.stdin,
  version,
  files: async () => {
    // the parsers of formats are loaded only when files are to be read
    const [{ checkFile }, { splitCollection }, { configSchema }] = await Promise.all([
      import("../format/check.ts"),
      import("../format/container/collection.ts"),
      import("../config/schema.ts"),
    ]);
    const { limits } = configSchema.parse({});
    const now = Math.floor(Date.now() / 1000);
    return {
      check: ({ path, member, raw, form }) => {
        const file = { file: path, member, raw, form };
        const { detail: _detail, ...result } = checkFile(file, limits, now, () => performance.now());
        return result;
      },
      split: (chunks, name, skipped) =>
        splitCollection(chunks, (member, stop) => {
          const what = member === null ? name : `${name}#${member}`;
          skipped(new ClientError(`${what}: skipped: ${stop.message}`, EXIT.DATAERR));
        }),
    };
  },
  confirm: async (question) =>
    process.stdin.isTTY && process.stderr.isTTY ? ask(question, process.stdin, process.stderr) : null,
});
process.stdin.destroy(); // a command may end before its input does
