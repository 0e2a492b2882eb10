/** Checks that need more than one value; nothing outside the configuration is looked at. */
import { isIP } from "node:net";
import { resolve } from "node:path";
import { isWithin, parseAddress } from "../model/domain-name.ts";
import { normalizeIp } from "../model/ip.ts";
import type { Config } from "./schema.ts";

/** Reports a mistake at a key. */
export type Report = (path: readonly PropertyKey[], what: string) => void;

/** The longest path of a Unix socket (sun_path); the kernel cuts longer ones. */
const LONGEST_SOCKET_PATH = 103;

/** A Unix socket, among addresses to listen on. */
export function isSocketPath(address: string): boolean {
  return address.startsWith("/");
}

/** Reports mistakes that single values do not show. */
export function checkMeaning(config: Config, report: Report): void {
  pair(config.smtp, "smtp", "tls_certificate", "tls_key", report);
  pair(config.deliver, "deliver", "relay_user", "relay_password_file", report);
  listeners(config, report);
  sockets(config, report);
  authentication(config, report);
  reporter(config, report);
  unique(config.feed, "feed", "name", report);
  unique(config.recipient, "recipient", "address", report);
}

/** Two keys of one table that are set together or not at all. */
function pair<T extends object>(
  table: T,
  name: string,
  one: keyof T & string,
  other: keyof T & string,
  report: Report,
): void {
  if ((table[one] === undefined) === (table[other] === undefined)) return;
  report([name, table[one] === undefined ? other : one], `${one} and ${other} belong together`);
}

type Listening = readonly [path: readonly PropertyKey[], address: string];

function listenersOf(config: Config): Listening[] {
  return (["smtp", "lmtp"] as const).flatMap((table) =>
    config[table].listen.map((address, i): Listening => [[table, "listen", i], address]),
  );
}

/** One port of an address cannot be listened on twice, nor with a wildcard beside it; port 0 is another one each time. */
function listeners(config: Config, report: Report): void {
  const seen: Endpoint[] = [];
  for (const [path, text] of listenersOf(config)) {
    if (isSocketPath(text)) continue;
    const endpoint = endpointOf(text);
    if (endpoint.port === 0) continue;
    const other = seen.find((each) => overlap(each, endpoint));
    if (other) {
      const isSame = other.host === endpoint.host;
      report(
        path,
        isSame
          ? `"${text}" is there twice`
          : `"${text}" and "${other.text}" exclude each other: a wildcard takes the port of all addresses`,
      );
    }
    seen.push(endpoint);
  }
}

interface Endpoint {
  readonly text: string;
  /** An address in canonical form, or a name in lower case. */
  readonly host: string;
  readonly port: number;
}

function endpointOf(text: string): Endpoint {
  const colon = text.lastIndexOf(":");
  const host = text
    .slice(0, colon)
    .replace(/^\[|\]$/g, "")
    .toLowerCase();
  return {
    text,
    host: host === "" ? "::" : (normalizeIp(host) ?? host),
    port: Number(text.slice(colon + 1)),
  };
}

/** "::" takes the port of IPv4 addresses too; what a name means is known at start only. */
function overlap(one: Endpoint, other: Endpoint): boolean {
  if (one.port !== other.port) return false;
  const hosts = [one.host, other.host];
  return (
    one.host === other.host ||
    hosts.includes("::") ||
    (hosts.includes("0.0.0.0") && hosts.every((h) => isIP(h) === 4))
  );
}

/** The control socket, those of feeds, and those of listeners are different files. */
function sockets(config: Config, report: Report): void {
  const seen = new Map<string, string>([[config.control.socket, "control.socket"]]);
  socketPath(["control", "socket"], config.control.socket, report);
  const more: Listening[] = [
    ...listenersOf(config).filter(([, address]) => isSocketPath(address)),
    ...config.feed.map(({ socket }, i): Listening => [["feed", i, "socket"], socket]),
  ];
  for (const [path, text] of more) {
    socketPath(path, text, report);
    const file = resolve(text);
    const other = seen.get(file);
    const [table, second, third] = path.map(String);
    const name = table === "feed" ? `${table}[${second}].${third}` : `${table}.${second}[${third}]`;
    if (other === undefined) seen.set(file, name);
    else report(path, `"${text}" is the socket of ${other}, too`);
  }
}

function authentication({ receive, smtp, lmtp }: Config, report: Report): void {
  const { verify, authserv_ids, authserv_peers, require_auth } = receive;
  if (!verify && authserv_ids.length === 0 && Object.values(require_auth).includes("reject")) {
    report(
      ["receive", "require_auth"],
      '"reject" needs verify = true or authserv_ids: all mail would be refused',
    );
  }
  const local = [...smtp.listen, ...lmtp.listen].some(isSocketPath);
  if (authserv_ids.length > 0 && authserv_peers.length === 0 && !local) {
    report(
      ["receive", "authserv_ids"],
      "no client is trusted: list the addresses of these servers in receive.authserv_peers",
    );
  }
}

function reporter({ dkim, report: { domain, from, copy_to } }: Config, report: Report): void {
  for (const [i, key] of dkim.entries()) {
    if (isWithin(domain, key.domain!)) continue;
    report(["dkim", i, "domain"], `is neither report.domain (${domain}) nor a parent of it`);
  }
  const address = parseAddress(from);
  if (!address) report(["report", "from"], "not an address");
  else if (!isWithin(address.domain, domain)) {
    report(["report", "from"], `is not in report.domain (${domain}): the reports would fail DMARC`);
  }
  if (copy_to !== undefined && !parseAddress(copy_to)) report(["report", "copy_to"], "not an address");
}

function unique<T>(items: readonly T[], list: string, key: keyof T & string, report: Report): void {
  const seen = new Set<unknown>();
  for (const [i, item] of items.entries()) {
    const value = String(item[key]).toLowerCase();
    if (seen.has(value)) report([list, i, key], `"${value}" is there twice`);
    seen.add(value);
  }
}

function socketPath(path: readonly PropertyKey[], value: string, report: Report): void {
  if (Buffer.byteLength(value) > LONGEST_SOCKET_PATH) {
    report(path, `the path is longer than ${LONGEST_SOCKET_PATH} bytes: ${value}`);
  }
}
