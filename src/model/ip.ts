/** IP addresses in canonical text form (RFC 5952; v4-mapped IPv6 as IPv4), and what kind of address one is. */
import { BlockList, isIPv4, isIPv6 } from "node:net";

/** "192.0.2.1" exactly as canonical IPv4, without leading zeros. */
const PLAIN_V4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

export interface IpReading {
  /** Canonical form. */
  readonly ip: string;
  /** Something was stripped or rewritten beyond case. */
  readonly repaired: boolean;
}

/** Parses an IPv6 text (without zone) into eight groups; undefined when it is none. */
function groups(text: string): number[] | undefined {
  if (!isIPv6(text)) return undefined;
  let body = text;
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (tail) {
    const [a, b, c, d] = tail[2]!.split(".").map(Number) as [number, number, number, number];
    body = `${tail[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [left, right] = body.split("::") as [string, string | undefined];
  const head = left === "" ? [] : left.split(":");
  if (right === undefined) return head.map((g) => Number.parseInt(g, 16));
  const rest = right === "" ? [] : right.split(":");
  const zeros = Array.from({ length: 8 - head.length - rest.length }, () => "0");
  return [...head, ...zeros, ...rest].map((g) => Number.parseInt(g, 16));
}

function format6(g: readonly number[]): string {
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; ) {
    if (g[i] !== 0) {
      i++;
      continue;
    }
    let j = i;
    while (j < 8 && g[j] === 0) j++;
    if (j - i > bestLength) {
      bestStart = i;
      bestLength = j - i;
    }
    i = j;
  }
  const hex = g.map((n) => n.toString(16));
  if (bestStart < 0) return hex.join(":");
  return `${hex.slice(0, bestStart).join(":")}::${hex.slice(bestStart + bestLength).join(":")}`;
}

function canonical(text: string): string | undefined {
  if (PLAIN_V4.test(text)) return text;
  const g = groups(text);
  if (!g) return undefined;
  if (g.slice(0, 5).every((n) => n === 0) && g[5] === 0xffff) {
    return `${g[6]! >> 8}.${g[6]! & 255}.${g[7]! >> 8}.${g[7]! & 255}`;
  }
  return format6(g);
}

/**
 * Reads an address as reporters write it: strips blanks, `[]`, `%zone`, `:port` behind IPv4 or `]`, a leading
 * `IPv6:` and a trailing "(host)". Undefined when no address is left.
 */
export function readIp(text: string): IpReading | undefined {
  if (PLAIN_V4.test(text)) return { ip: text, repaired: false };
  const direct = canonical(text.toLowerCase());
  if (direct !== undefined) return { ip: direct, repaired: direct !== text.toLowerCase() };
  let t = text.slice(0, 300).trim();
  const space = t.search(/[\s(]/);
  if (space > 0) t = t.slice(0, space);
  const bracket = /^\[(.*?)\](?::\d{1,5})?$/.exec(t);
  if (bracket) t = bracket[1]!;
  t = t.replace(/^ipv6:/i, "");
  const zone = t.indexOf("%");
  if (zone > 0) t = t.slice(0, zone);
  if (/^\d+\.\d+\.\d+\.\d+:\d{1,5}$/.test(t)) t = t.slice(0, t.indexOf(":"));
  const ip = canonical(t.toLowerCase());
  return ip === undefined ? undefined : { ip, repaired: true };
}

/** Canonical form of a plain address; undefined for anything else. */
export function normalizeIp(text: string): string | undefined {
  return canonical(text.toLowerCase());
}

/**
 * True for addresses that are nobody's on the public Internet: unspecified, loopback, link-local, private, CGNAT,
 * multicast, documentation, benchmarking, reserved, unique-local, v4-mapped forms of these (SSRF guard).
 */
export function isSpecialAddress(ip: string): boolean {
  const address = canonical(ip.toLowerCase());
  if (address === undefined) return true;
  if (isIPv4(address)) {
    const [a, b, c] = address.split(".").map(Number) as [number, number, number, number];
    return (
      a === 0 ||
      a === 10 ||
      a === 127 ||
      a >= 224 ||
      (a === 100 && b >= 64 && b < 128) ||
      (a === 169 && b === 254) ||
      (a === 172 && b >= 16 && b < 32) ||
      (a === 192 && b === 0 && (c === 0 || c === 2)) ||
      (a === 192 && b === 168) ||
      (a === 198 && (b === 18 || b === 19)) ||
      (a === 198 && b === 51 && c === 100) ||
      (a === 203 && b === 0 && c === 113)
    );
  }
  const g = groups(address)!;
  const first = g[0]!;
  const nat64 = first === 0x64 && g[1] === 0xff9b;
  if (nat64) return isSpecialAddress(`${g[6]! >> 8}.${g[6]! & 255}.${g[7]! >> 8}.${g[7]! & 255}`);
  if (first === 0x2002) return isSpecialAddress(`${g[1]! >> 8}.${g[1]! & 255}.${g[2]! >> 8}.${g[2]! & 255}`);
  return (first & 0xe000) !== 0x2000 || (first === 0x2001 && (g[1] === 0xdb8 || g[1]! < 0x200));
}

/** The key under which connections of one client are counted: the IPv4 address, or the IPv6 /64. */
export function clientKeyOf(ip: string): string {
  const address = canonical(ip.toLowerCase());
  if (address === undefined || isIPv4(address)) return address ?? ip;
  return `${format6([...groups(address)!.slice(0, 4), 0, 0, 0, 0])}/64`;
}

/** Whether an address lies in one of these networks or is one of these addresses (`192.0.2.0/24`, `2001:db8::1`). */
export function networkMatcher(networks: readonly string[]): (ip: string) => boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [address, bits] = network.split("/") as [string, string | undefined];
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    list.addSubnet(address, bits === undefined ? (family === "ipv6" ? 128 : 32) : Number(bits), family);
  }
  return (ip) => {
    const address = canonical(ip.split("%", 1)[0]!.toLowerCase());
    return address !== undefined && list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
  };
}

/** A canonical address as 4 or 16 bytes, for compact keys. */
export function packIp(ip: string): Uint8Array {
  if (isIPv4(ip)) return Uint8Array.from(ip.split(".").map(Number));
  const g = groups(ip);
  if (!g) throw new TypeError("not a canonical address");
  return Uint8Array.from(g.flatMap((n) => [n >> 8, n & 255]));
}

/** The canonical text of 4 or 16 bytes. */
export function unpackIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  return format6(Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!));
}
