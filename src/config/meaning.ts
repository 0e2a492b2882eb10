/** Checks that need more than one value; nothing outside the configuration is looked at. */
import { isWithin, parseAddress } from "../model/domain-name.ts";
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
  authentication(config, report);
  reporter(config, report);
  socketPath(["control", "socket"], config.control.socket, report);
  for (const [i, feed] of config.feed.entries()) socketPath(["feed", i, "socket"], feed.socket, report);
  unique(config.feed, "feed", "name", report);
  unique(config.feed, "feed", "socket", report);
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

/** One address cannot be listened on twice; port 0 is another port each time. */
function listeners({ smtp, lmtp }: Config, report: Report): void {
  const seen = new Set<string>();
  for (const [table, { listen }] of [["smtp", smtp] as const, ["lmtp", lmtp] as const]) {
    for (const [i, address] of listen.entries()) {
      if (isSocketPath(address)) socketPath([table, "listen", i], address, report);
      if (seen.has(address)) report([table, "listen", i], `"${address}" is there twice`);
      if (!address.endsWith(":0")) seen.add(address);
    }
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
