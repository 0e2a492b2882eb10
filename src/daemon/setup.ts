/** What the daemon needs before anything runs: its folder, its signing keys, its resolver. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Config } from "../config/schema.ts";
import { cachingResolver } from "../dns/cache.ts";
import type { Resolver } from "../dns/resolver.ts";
import { systemResolver } from "../dns/system.ts";
import { parseZone, zoneResolver } from "../dns/zone.ts";
import { dkimRecord, generateSigningKey, loadSigningKey, type SigningKey } from "../format/mail/dkim-sign.ts";
import type { Clock } from "../lib/clock.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";

/** What to try next, when nobody wrote a configuration. */
export const TRY_OUT_HINTS: readonly string[] = [
  "this is a try-out: nothing leaves this machine; state is under ./var",
  "hand it reports:   npx mailreportctl import contrib/tour/reports",
  "or by mail:        127.0.0.1:2525, to dmarc@example.org",
  "ask:               npx mailreportctl show domains",
  "feed evaluations:  node contrib/tour/evaluations.js | npx mailreportctl feed -",
  "all commands:      npx mailreportctl help",
];

/** Errors: `daemon.state_unusable`. */
export function makeStateDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o750 });
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
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o755);
  } catch (cause) {
    throw new MailreportError("daemon.state_unusable", {
      detail: `runtime_directory ${path}: ${errorText(cause)}`,
      cause,
    });
  }
}

/** The keys that sign what we send; one that may be generated and is not there is, and the log says what to publish. */
export function loadSigningKeys({ dkim }: Config, log: Log): SigningKey[] {
  return dkim.map(({ domain, selector, key_file, generate }) => {
    const made = !existsSync(key_file) && generate !== "no";
    if (made) {
      writeFileSync(key_file, generateSigningKey(generate), { mode: 0o600 });
      chmodSync(key_file, 0o600);
    }
    const key = loadSigningKey(readFileSync(key_file, "utf8"), domain!, selector);
    if (made) log.info("dkim.key_generated", { file: key_file, publish: dkimRecord(key) });
    return key;
  });
}

/** A resolver as configured: servers behind a cache, a zone file before them or in their place. Errors: `config.*`. */
export function makeResolver({ dns }: Config, clock: Clock): Resolver {
  const outside = dns.zone_only
    ? undefined
    : cachingResolver(
        systemResolver({ servers: dns.servers, timeoutMs: dns.timeout, tries: dns.tries }),
        clock,
      );
  if (dns.zone_file === undefined) return outside ?? zoneResolver([]);
  let text: string;
  try {
    text = readFileSync(dns.zone_file, "utf8");
  } catch (cause) {
    throw new MailreportError("config.unreadable", {
      detail: `${dns.zone_file}: ${errorText(cause)}`,
      cause,
    });
  }
  try {
    return zoneResolver(parseZone(text, dns.zone_file), outside);
  } catch (cause) {
    throw new MailreportError("config.invalid", { detail: errorText(cause), cause });
  }
}
