/**
 * The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): the header that a load balancer sends before the
 * first byte of a connection. It is parsed only on connections of configured proxies, where it is required (section 2).
 */
import type { Socket } from "node:net";
import { isIPv4, isIPv6 } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { normalizeIp, unpackIp } from "../../model/ip.ts";

/** The client behind the proxy. */
export interface ProxiedClient {
  /** Canonical; a v4-mapped address, which proxies with one socket for both families send, as IPv4. */
  readonly address: string;
  readonly port: number;
}

export type ProxyHeader =
  | { readonly state: "more" }
  | { readonly state: "bad"; readonly why: string }
  /** `client` is null for the proxy's own connections (LOCAL, UNKNOWN): the address of the peer is used. */
  | { readonly state: "done"; readonly length: number; readonly client: ProxiedClient | null };

const MORE: ProxyHeader = { state: "more" };
/** Section 2.1: the longest version 1 header, with its end of line. */
const LONGEST_V1 = 107;
const V1 = Buffer.from("PROXY ");
/** Section 2.2. */
const V2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const V2_HEAD = 16;
/** Address block and TLVs of a version 2 header. */
const LONGEST_V2 = 4096;
const TCP4 = 0x11;
const TCP6 = 0x21;

/** Parses the header at the begin of a connection. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsAlike(bytes, V2)) return bytes.length < V2_HEAD ? MORE : parseV2(bytes);
  if (startsAlike(bytes, V1)) return parseV1(bytes);
  return { state: "bad", why: "no PROXY header" };
}

/** As far as there are bytes of both, they are the same. */
function startsAlike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length);
  return bytes.subarray(0, length).equals(signature.subarray(0, length));
}

function parseV1(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, LONGEST_V1).indexOf("\r\n");
  if (end < 0) return bytes.length < LONGEST_V1 ? MORE : { state: "bad", why: "an endless PROXY line" };
  const length = end + 2;
  const [, family, source, destination, sourcePort, destinationPort, ...rest] = bytes
    .toString("latin1", 0, end)
    .split(" ");
  if (family === "UNKNOWN") return { state: "done", length, client: null };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isIPv6 : () => false;
  const isValid =
    rest.length === 0 &&
    isAddress(source ?? "") &&
    isAddress(destination ?? "") &&
    isPort(sourcePort) &&
    isPort(destinationPort);
  if (!isValid) return { state: "bad", why: "a PROXY line that is none" };
  return done(length, source!, Number(sourcePort));
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

function parseV2(bytes: Buffer): ProxyHeader {
  const versionAndCommand = bytes[12]!;
  const length = V2_HEAD + bytes.readUInt16BE(14);
  if (versionAndCommand !== 0x20 && versionAndCommand !== 0x21) {
    return { state: "bad", why: "an unknown PROXY version or command" };
  }
  if (length - V2_HEAD > LONGEST_V2) return { state: "bad", why: "a PROXY header that is too long" };
  if (bytes.length < length) return MORE;
  if (versionAndCommand === 0x20) return { state: "done", length, client: null }; // LOCAL
  const family = bytes[13]!;
  const size = family === TCP4 ? 4 : family === TCP6 ? 16 : 0;
  if (size === 0) return { state: "done", length, client: null }; // UNSPEC, UNIX, UDP: nothing we can use
  if (length < V2_HEAD + 2 * size + 4) return { state: "bad", why: "a PROXY header without its addresses" };
  const address = unpackIp(bytes.subarray(V2_HEAD, V2_HEAD + size));
  return done(length, address, bytes.readUInt16BE(V2_HEAD + 2 * size));
}

function done(length: number, address: string, port: number): ProxyHeader {
  return { state: "done", length, client: { address: normalizeIp(address) ?? address, port } };
}

export type ProxyReading =
  | { readonly ok: true; readonly client: ProxiedClient | null }
  | { readonly ok: false; readonly why: string };

/**
 * Reads the header from a connection of a proxy; the bytes after it stay in the socket, which is paused.
 * @param limitMs longest wait for the header
 */
export function readProxyHeader(socket: Socket, clock: Clock, limitMs: number): Promise<ProxyReading> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const finish = (reading: ProxyReading): void => {
      late.cancel();
      socket.off("data", take).off("end", gone).off("close", gone).off("error", gone);
      socket.pause();
      resolve(reading);
    };
    const gone = (): void => finish({ ok: false, why: "gone before its PROXY header" });
    const take = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const header = parseProxyHeader(bytes);
      if (header.state === "more") return;
      if (header.state === "bad") {
        finish({ ok: false, why: header.why });
        return;
      }
      finish({ ok: true, client: header.client });
      if (bytes.length > header.length) socket.unshift(bytes.subarray(header.length));
    };
    const late = clock.after(limitMs, () => finish({ ok: false, why: "no PROXY header in time" }));
    socket.on("data", take).on("end", gone).on("close", gone).on("error", gone);
  });
}
