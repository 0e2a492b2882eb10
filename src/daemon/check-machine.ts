/**
 * Checks what a configuration needs of this machine: files, directories, groups, addresses. `mailreportd -n` and a
 * reload report it before anything is changed. A port in use or a missing permission of the daemon's user is found by
 * the start only.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { accessSync, constants, readFileSync, type Stats, statSync } from "node:fs";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { dirname } from "node:path";
import { createSecureContext } from "node:tls";
import { isSocketPath, type Report } from "../config/meaning.ts";
import type { Config } from "../config/schema.ts";
import { parseZone } from "../dns/zone.ts";
import { loadSigningKey } from "../format/mail/dkim-sign.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import { groupId } from "../lib/unix-socket.ts";
import { normalizeIp } from "../model/ip.ts";

type Path = readonly PropertyKey[];

/** The properties of the system, besides its files, that are checked. */
export interface Machine {
  /** Addresses of the interfaces, canonical. */
  addresses(): readonly string[];
  /** Addresses that no interface has can be listened on (`ip_nonlocal_bind`). */
  anyAddress(): boolean;
  /** The id of a group; undefined when there is none of that name. */
  groupId(name: string): number | undefined;
}

export const thisMachine: Machine = {
  addresses: () =>
    Object.values(networkInterfaces()).flatMap((list) =>
      (list ?? []).flatMap(({ address }) => normalizeIp(address) ?? []),
    ),
  anyAddress: () =>
    ["ipv4", "ipv6"].some(
      (family) => readQuietly(`/proc/sys/net/${family}/ip_nonlocal_bind`)?.trim() === "1",
    ),
  groupId,
};

/** Reports everything that this machine lacks. */
export function checkMachine(config: Config, report: Report, machine: Machine = thisMachine): void {
  checkStateDirectory(config.state_directory, report);
  if (config.log.file !== undefined) checkLogFile(config.log.file, report);
  checkListeners(config, report, machine);
  checkTls(config, report);
  for (const [i, key] of config.dkim.entries()) checkDkimKey(["dkim", i, "key_file"], key, report);
  checkPassword(config, report);
  if (config.dns.zone_file !== undefined) checkZone(config.dns.zone_file, report);
  checkSocket(["control", "socket"], config.control.socket, config, report);
  checkGroup(["control", "group"], config.control.group, machine, report);
  for (const [i, { socket, group }] of config.feed.entries()) {
    checkSocket(["feed", i, "socket"], socket, config, report);
    checkGroup(["feed", i, "group"], group, machine, report);
  }
}

function checkGroup(path: Path, group: string | undefined, machine: Machine, report: Report): void {
  if (group !== undefined && machine.groupId(group) === undefined) report(path, `no group "${group}"`);
}

// ---- directories --------------------------------------------------------------------

function checkStateDirectory(directory: string, report: Report): void {
  let existing = directory;
  for (; stat(existing) === undefined && existing !== dirname(existing); existing = dirname(existing));
  const path = ["state_directory"];
  if (!stat(existing)?.isDirectory()) report(path, `${existing} is not a directory`);
  else if (!permits(existing, constants.W_OK | constants.X_OK)) {
    report(path, existing === directory ? `${directory} is not writable` : `cannot be made in ${existing}`);
  }
}

function checkLogFile(file: string, report: Report): void {
  const path = ["log", "file"];
  const there = stat(file);
  if (there?.isDirectory()) report(path, `${file} is a directory`);
  else if (there && !permits(file, constants.W_OK)) report(path, `${file} is not writable`);
  else if (!there) {
    const directory = dirname(file);
    if (!stat(directory)?.isDirectory()) report(path, `${directory}: no such directory`);
    else if (!permits(directory, constants.W_OK | constants.X_OK))
      report(path, `${directory} is not writable`);
  }
}

/** A directory that is made before the sockets: by us, or by the service manager (`RuntimeDirectory=`). */
function isMadeAtStart(directory: string, config: Config): boolean {
  const { state_directory, runtime_directory } = config;
  return (
    [state_directory, runtime_directory].includes(directory) || /^(?:\/var)?\/run\/[^/]+$/.test(directory)
  );
}

function checkSocket(path: Path, socket: string, config: Config, report: Report): void {
  const there = stat(socket);
  const directory = dirname(socket);
  if (there && !there.isSocket()) report(path, `${socket} exists and is not a socket`);
  else if (!stat(directory)?.isDirectory() && !isMadeAtStart(directory, config))
    report(path, `${directory}: no such directory`);
}

// ---- addresses ----------------------------------------------------------------------

function checkListeners(config: Config, report: Report, machine: Machine): void {
  const own = new Set(machine.addresses());
  for (const table of ["smtp", "lmtp"] as const) {
    for (const [i, address] of config[table].listen.entries()) {
      const path = [table, "listen", i];
      if (isSocketPath(address)) checkSocket(path, address, config, report);
      else if (!isOwn(address, own) && !machine.anyAddress())
        report(path, `no interface of this machine has the address of "${address}"`);
    }
  }
}

/** True for an address of this machine, a wildcard, and a name, which only the start looks up. */
function isOwn(listen: string, own: ReadonlySet<string>): boolean {
  const host = listen.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  if (isIP(host) === 0) return true;
  const ip = normalizeIp(host) ?? host;
  if (ip === "0.0.0.0" || ip === "::" || own.has(ip)) return true;
  // all of 127.0.0.0/8 belongs to the loopback interface, which shows one address of it
  return ip.startsWith("127.") && [...own].some((address) => address.startsWith("127."));
}

// ---- keys and secrets ---------------------------------------------------------------

function checkTls({ smtp }: Config, report: Report): void {
  const { tls_certificate: certificateFile, tls_key: keyFile } = smtp;
  const pem =
    certificateFile === undefined ? undefined : read(["smtp", "tls_certificate"], certificateFile, report);
  const keyPem = keyFile === undefined ? undefined : readSecret(["smtp", "tls_key"], keyFile, report);
  const certificate =
    pem === undefined
      ? undefined
      : parsed(
          () => new X509Certificate(pem),
          ["smtp", "tls_certificate"],
          report,
          `${certificateFile}: not a PEM certificate`,
        );
  const key: KeyObject | undefined =
    keyPem === undefined
      ? undefined
      : parsed(
          () => createPrivateKey(keyPem),
          ["smtp", "tls_key"],
          report,
          `${keyFile}: not a PEM private key without a passphrase`,
        );
  if (!certificate || !key) return;
  if (!certificate.checkPrivateKey(key)) {
    report(["smtp", "tls_key"], `${keyFile} is not the key of the certificate in ${certificateFile}`);
    return;
  }
  try {
    createSecureContext({ cert: pem, key: keyPem, minVersion: "TLSv1.2" });
  } catch (error) {
    report(["smtp", "tls_certificate"], `${certificateFile} cannot be used: ${errorText(error)}`);
  }
}

function parsed<T>(work: () => T, path: Path, report: Report, otherwise: string): T | undefined {
  try {
    return work();
  } catch {
    report(path, otherwise);
    return undefined;
  }
}

function checkDkimKey(path: Path, entry: Config["dkim"][number], report: Report): void {
  const { key_file: file, generate, domain, selector } = entry;
  if (generate !== "no" && stat(file) === undefined) return; // made at start
  const pem = readSecret(path, file, report);
  if (pem === undefined) return;
  try {
    loadSigningKey(pem, domain ?? "", selector);
  } catch (error) {
    const why = error instanceof MailreportError ? error.detail : errorText(error);
    report(path, `${file} cannot be used for signing: ${why?.trim()}`);
  }
}

function checkPassword({ deliver }: Config, report: Report): void {
  const { relay_password_file: file } = deliver;
  const path = ["deliver", "relay_password_file"];
  if (file !== undefined && readSecret(path, file, report)?.trim() === "") report(path, `${file} is empty`);
}

function checkZone(file: string, report: Report): void {
  const path = ["dns", "zone_file"];
  const text = read(path, file, report);
  if (text === undefined) return;
  try {
    parseZone(text, file);
  } catch (error) {
    report(path, errorText(error));
  }
}

/** A secret is in a file that others cannot read. */
function readSecret(path: Path, file: string, report: Report): string | undefined {
  if (((stat(file)?.mode ?? 0) & 0o007) !== 0) {
    report(path, `${file} can be read by others; chmod 0640 or less`);
  }
  return read(path, file, report);
}

// ---- files --------------------------------------------------------------------------

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  ENOTDIR: "no such file",
  EACCES: "permission denied",
  EISDIR: "is a directory",
};

function read(path: Path, file: string, report: Report): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    report(path, `${file}: ${REASONS[(error as NodeJS.ErrnoException).code ?? ""] ?? errorText(error)}`);
    return undefined;
  }
}

function readQuietly(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** Undefined when it is not there, or cannot be seen. */
function stat(file: string): Stats | undefined {
  try {
    return statSync(file);
  } catch {
    return undefined;
  }
}

function permits(file: string, mode: number): boolean {
  try {
    accessSync(file, mode);
    return true;
  } catch {
    return false;
  }
}
