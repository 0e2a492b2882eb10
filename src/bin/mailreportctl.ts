#!/usr/bin/env node
/** The control client's program: surroundings in, exit code out. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { run } from "../ctl/run/run.ts";
import { clean } from "../lib/text.ts";

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0); // whoever read has enough
  throw error;
});

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const code = await run({
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
    // the readers of formats are loaded only when files are to be read
    const [{ checkFile }, { splitCollection }, { configSchema }] = await Promise.all([
      import("../format/check.ts"),
      import("../format/container/collection.ts"),
      import("../config/schema.ts"),
    ]);
    const { limits } = configSchema.parse({});
    return {
      check: (raw, file) => {
        const { detail: _detail, ...result } = checkFile(
          raw,
          file,
          limits,
          Math.floor(Date.now() / 1000),
          () => performance.now(),
        );
        return result;
      },
      split: (chunks, name) =>
        splitCollection(chunks, (member, stop) => {
          const what = member === null ? name : `${name}#${member}`;
          process.stderr.write(`mailreportctl: ${clean(what)}: skipped: ${clean(stop.message)}\n`);
        }),
    };
  },
  confirm: async (question) => {
    if (!process.stdin.isTTY || !process.stderr.isTTY) return null;
    const asking = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return await asking.question(question);
    } finally {
      asking.close();
    }
  },
});
process.exitCode = code;
