/** What the daemon needs before anything runs: its directory, its files, its signing keys. */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import type { Config } from "../config/schema.ts";
import { dkimRecord, generateSigningKey, loadSigningKey, type SigningKey } from "../format/mail/dkim-sign.ts";
import { makeDirectory } from "../lib/directory.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";

/** What to try next, shown when there is no configuration file. */
export const TRY_OUT_HINTS: readonly string[] = [
  "this is a try-out: nothing leaves this machine; state is under ./var",
  "import reports:    npx mailreportctl import contrib/tour/reports",
  "or send mail:      127.0.0.1:2525, to dmarc@example.org",
  "look at them:      npx mailreportctl show domains",
  "feed evaluations:  node contrib/tour/evaluations.js | npx mailreportctl feed -",
  "all commands:      npx mailreportctl help",
];

/** Errors: `daemon.state_unusable`. */
export function makeStateDirectory(path: string): void {
  try {
    makeDirectory(path, 0o750);
  } catch (cause) {
    throw new MailreportError("daemon.state_unusable", { detail: `${path}: ${errorText(cause)}`, cause });
  }
}

/**
 * Makes the directory of the sockets when it is missing and we may (systemd or tmpfiles.d make it otherwise), open to
 * everybody: group and mode of each socket decide. One that exists stays as it is. Errors: `daemon.state_unusable`.
 */
export function makeRuntimeDirectory(path: string): void {
  try {
    if (existsSync(path)) return;
    makeDirectory(path);
    chmodSync(path, 0o755);
  } catch (cause) {
    throw new MailreportError("daemon.state_unusable", {
      detail: `runtime_directory ${path}: ${errorText(cause)}`,
      cause,
    });
  }
}

/**
 * Opens a file for writing, made when it is missing, and closes it: SQLite does not say why it cannot open one.
 * Errors: those of the system call.
 */
export function ensureWritable(path: string): void {
  closeSync(openSync(path, "a", 0o640));
}

/**
 * The keys that sign our mail. A missing key is generated where that is configured, and the record to publish is logged.
 * @param missing what to do about such a key: `generate` it, or `skip` it (a dry run)
 * Errors: `dkim.key_unusable`; those of the system call that failed.
 */
export function loadSigningKeys({ dkim }: Config, log: Log, missing: "generate" | "skip"): SigningKey[] {
  return dkim.flatMap(({ domain, selector, key_file, generate }) => {
    const make = !existsSync(key_file) && generate !== "no";
    if (make && missing === "skip") return [];
    if (make) writeKey(key_file, generateSigningKey(generate));
    const key = loadSigningKey(readFileSync(key_file, "utf8"), domain!, selector);
    if (make) log.info("dkim.key_generated", { file: key_file, publish: dkimRecord(key) });
    return [key];
  });
}

/** The whole file or none: a full disk must not leave an empty key. */
function writeKey(file: string, pem: string): void {
  const unfinished = `${file}.new`;
  try {
    rmSync(unfinished, { force: true });
    const descriptor = openSync(unfinished, "wx", 0o600);
    try {
      writeFileSync(descriptor, pem);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(unfinished, file);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}
