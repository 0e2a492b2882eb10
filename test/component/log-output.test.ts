/** The log into a real pipe whose reader stands still, and goes on. */
import { execFileSync } from "node:child_process";
import { closeSync, createReadStream, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type LogOutput, openLogOutput } from "../../src/lib/log/output.ts";
import { until } from "../support/wait.ts";

describe("the log in a pipe", () => {
  let dir: string;
  let fifo: string;
  let lost: number;
  let output: LogOutput;
  /** Holds the reading end open without reading. */
  let holder: number;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "log-pipe-"));
    fifo = join(dir, "fifo");
    execFileSync("mkfifo", [fifo]);
    holder = openSync(fifo, "r+");
    lost = 0;
    output = openLogOutput({ descriptor: openSync(fifo, "w") }, (lines) => {
      lost += lines;
    });
  });
  afterEach(() => {
    closeSync(holder);
    rmSync(dir, { recursive: true });
  });
  const line = (n: number) => `${String(n).padStart(6, "0")} ${"x".repeat(992)}\n`;
  const reader = () => {
    const read = { text: "" };
    const stream = createReadStream(fifo, { encoding: "utf8" });
    stream.on("data", (chunk) => {
      read.text += String(chunk);
    });
    return { read, close: () => stream.destroy() };
  };

  it("keeps some megabytes for a reader that stands still, counts what is lost, and tells whole lines", async () => {
    for (let n = 0; n < 6000; n++) output.write(line(n));
    expect(lost).toBeGreaterThan(1000);
    expect(lost).toBeLessThan(3000);
    const { read, close } = reader();
    const kept = 6000 - lost;
    await until("the reader to have all", () => read.text.length >= kept * 1000);
    expect(read.text).toBe(Array.from({ length: kept }, (_, n) => line(n)).join(""));
    await output.drained(5000);
    output.write(line(7000));
    await until("the next line", () => read.text.endsWith(line(7000)));
    close();
  });

  it("waits for the last lines until they are taken, or the time is up", async () => {
    for (let n = 0; n < 200; n++) output.write(line(n));
    let drained = false;
    await output.drained(10); // nobody reads
    const waiting = output.drained(20_000).then(() => {
      drained = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(drained).toBe(false);
    const { read, close } = reader();
    await waiting;
    await until("the reader to have all", () => read.text.length === 200_000);
    expect(lost).toBe(0);
    close();
  });

  it("is lost, counted, when the reader is gone", async () => {
    for (let n = 0; n < 200; n++) output.write(line(n));
    closeSync(holder);
    await until("the lines to be given up", () => lost > 0);
    output.write(line(1) + line(2));
    await output.drained(10_000);
    expect(lost).toBeGreaterThanOrEqual(3);
    holder = openSync(fifo, "r+");
  });
});
