/**
 * Power cuts: the disks that a cut may leave at any point of a busy minute, rebuilt from a trace of the daemon's system
 * calls. Every mail that was acknowledged must be on each of them, and both databases must be whole.
 */
import { spawn } from "node:child_process";
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MAILREPORTD, newStateFolder, TestDaemon } from "../support/daemon.ts";
import { diskAfter, readTrace, STRACE, type Trace } from "../support/disk-trace.ts";
import { have } from "../support/have.ts";
import { dmarcMail } from "../support/report-mail.js";
import { sendAll } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const MAILS = 600;
const CONNECTIONS = 12;
const DISKS = 1000;

/** Numbers from 0 to 1, the same in each run (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** Runs the daemon under strace while mails come over many connections; the lines of its trace. */
async function traceBusyDaemon(folder: string): Promise<string> {
  const config = new TestDaemon({ dir: folder, config: "[receive]\nverify = false" });
  const file = join(folder, "trace");
  const child = spawn(
    "strace",
    [...STRACE, "-o", file, process.execPath, MAILREPORTD, "-F", "-f", config.configFile],
    { cwd: folder, stdio: ["ignore", "pipe", "inherit"] },
  );
  const ended = new Promise((resolve) => child.once("close", resolve));
  let log = "";
  child.stdout.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  const port = await until("the daemon to be ready", () =>
    log.includes("daemon.ready") ? Number(/"event":"smtp\.listening".*?"port":(\d+)/.exec(log)![1]) : 0,
  );
  const mails = Array.from({ length: MAILS }, (_, i) => ({
    to: "dmarc@example.org",
    data: dmarcMail({ id: `cut-${i}`, records: 1 + (i % 40) }),
  }));
  await sendAll(port, mails, CONNECTIONS);
  const pid = Number(/"pid":(\d+)/.exec(log)![1]);
  process.kill(pid, "SIGTERM");
  await ended;
  return file;
}

interface Found {
  /** Disks on which an acknowledged mail was missing, or a database damaged. */
  bad: string[];
  acknowledged: number;
}

function check(into: string, acknowledged: readonly number[]): string | undefined {
  if (acknowledged.length === 0) return undefined;
  let database: Database.Database | undefined;
  try {
    database = new Database(join(into, "archive.db"), { fileMustExist: true });
    const state = database.pragma("integrity_check", { simple: true });
    if (state !== "ok") return `integrity: ${String(state)}`;
    const there = new Set(
      database
        .prepare<[], number>(
          `SELECT id FROM mail WHERE outcome IN ('imported', 'imported-with-warnings') AND id IN (SELECT mail_id FROM report)
             OR state = 'spooled' AND id IN (SELECT mail_id FROM raw)`,
        )
        .pluck()
        .all(),
    );
    const missing = acknowledged.filter((id) => !there.has(id));
    if (missing.length > 0) return `lost: ${missing.length} of ${acknowledged.length}, m${missing[0]}`;
    const counted = database.prepare("SELECT value FROM counter WHERE name = 'archive.mail'").pluck().get();
    const stored = database.prepare("SELECT count(*) FROM mail").pluck().get();
    return counted === stored ? undefined : `counter ${String(counted)}, mails ${String(stored)}`;
  } catch (error) {
    return String(error);
  } finally {
    database?.close();
  }
}

function cutAll(trace: Trace, disks: number, syncs: boolean): Found {
  const random = numbers(20_261_121);
  const found: Found = { bad: [], acknowledged: 0 };
  const folder = mkdtempSync(join(tmpdir(), "power-cut-"));
  for (let n = 0; n < disks; n++) {
    const at = Math.floor(random() * (trace.operations.length + 1));
    const into = join(folder, String(n));
    const acknowledged = diskAfter(trace, { at, random, syncs }, into);
    found.acknowledged += acknowledged.length;
    const wrong = check(into, acknowledged);
    if (wrong === undefined) rmSync(into, { recursive: true });
    else found.bad.push(`cut at ${at}: ${wrong}`);
  }
  if (found.bad.length === 0 || !syncs) rmSync(folder, { recursive: true });
  return found;
}

describe.skipIf(!have("strace"))("power cuts", () => {
  const folder = newStateFolder();
  let trace: Trace;

  beforeAll(async () => {
    const file = await traceBusyDaemon(folder);
    const lines: string[] = [];
    for await (const line of createInterface({ input: createReadStream(file) })) lines.push(line);
    trace = readTrace(lines, join(folder, "var"));
  }, 300_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("the trace shows every acknowledgement", () => {
    expect(trace.acknowledged).toBe(MAILS);
  });

  it(`no acknowledged mail is missing on any of ${DISKS} disks`, { timeout: 600_000 }, () => {
    const { bad, acknowledged } = cutAll(trace, DISKS, true);
    expect(bad).toEqual([]);
    expect(acknowledged).toBeGreaterThan(DISKS * 100);
  });

  it("the harness finds losses where syncs do nothing", { timeout: 600_000 }, () => {
    expect(cutAll(trace, 50, false).bad.length).toBeGreaterThan(10);
  });
});
