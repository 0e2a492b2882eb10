/** The PROXY protocol's header, versions 1 and 2. */
import { describe, expect, it } from "vitest";
import { type ProxyHeader, parseProxyHeader } from "../../src/receive/smtp/proxy.ts";

const SIGNATURE = "0d0a0d0a000d0a515549540a";

function v2(command: number, family: number, body: string, length = body.length / 2): Buffer {
  const head = Buffer.from([command, family, length >> 8, length & 255]);
  return Buffer.concat([Buffer.from(SIGNATURE, "hex"), head, Buffer.from(body, "hex")]);
}

const line = (text: string): Buffer => Buffer.from(text, "latin1");
const done = (length: number, address?: string, port?: number): ProxyHeader => ({
  state: "done",
  length,
  client: address === undefined ? null : { address, port: port! },
});

const GOOD: [string, Buffer, ProxyHeader][] = [
  ["v1 TCP4", line("PROXY TCP4 192.0.2.7 198.51.100.1 51234 25\r\n"), done(44, "192.0.2.7", 51234)],
  ["v1 TCP6", line("PROXY TCP6 2001:db8::7 2001:db8::1 1 25\r\n"), done(41, "2001:db8::7", 1)],
  ["v1 UNKNOWN", line("PROXY UNKNOWN\r\n"), done(15)],
  ["v1 UNKNOWN with more", line("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), done(43)],
  ["v1 of 107 bytes", line(`PROXY UNKNOWN ${"f".repeat(91)}\r\n`), done(107)],
  ["v2 TCP4", v2(0x21, 0x11, "c0000207c6336401c8220019"), done(28, "192.0.2.7", 51234)],
  [
    "v2 TCP6",
    v2(0x21, 0x21, "20010db800000000000000000000000720010db8000000000000000000000001c8220019"),
    done(52, "2001:db8::7", 51234),
  ],
  [
    "v2 TCP6, v4-mapped",
    v2(0x21, 0x21, "00000000000000000000ffffc000020700000000000000000000ffffc6336401c8220019"),
    done(52, "192.0.2.7", 51234),
  ],
  [
    "v1 TCP6, v4-mapped",
    line("PROXY TCP6 ::ffff:192.0.2.7 ::FFFF:c633:6401 1 25\r\n"),
    done(51, "192.0.2.7", 1),
  ],
  ["v1 TCP6, capitals", line("PROXY TCP6 2001:DB8:0::7 2001:db8::1 1 25\r\n"), done(43, "2001:db8::7", 1)],
  ["v2 with a TLV", v2(0x21, 0x11, "c0000207c6336401c82200190300047f83b1a5"), done(35, "192.0.2.7", 51234)],
  ["v2 LOCAL", v2(0x20, 0x00, ""), done(16)],
  ["v2 LOCAL with addresses", v2(0x20, 0x11, "c0000207c6336401c8220019"), done(28)],
  ["v2 UNSPEC", v2(0x21, 0x00, "ffff"), done(18)],
  ["v2 UNIX", v2(0x21, 0x31, "00".repeat(216)), done(232)],
];

const BAD: [string, Buffer, string][] = [
  ["nothing of the kind", line("EHLO client.example\r\n"), "no PROXY header"],
  ["lower case", line("proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n"), "no PROXY header"],
  ["a v1 line without an end", line(`PROXY TCP4 ${"1".repeat(200)}`), "an endless PROXY line"],
  ["v1 of 108 bytes", line(`PROXY UNKNOWN ${"f".repeat(92)}\r\n`), "an endless PROXY line"],
  ["v1 with a name", line("PROXY TCP4 mx.example 198.51.100.1 1 2\r\n"), "a PROXY line that is none"],
  ["v1 with IPv6 in TCP4", line("PROXY TCP4 ::1 ::1 1 2\r\n"), "a PROXY line that is none"],
  ["v1 without ports", line("PROXY TCP4 192.0.2.7 198.51.100.1\r\n"), "a PROXY line that is none"],
  [
    "v1 with a port too large",
    line("PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n"),
    "a PROXY line that is none",
  ],
  [
    "v1 with too many words",
    line("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n"),
    "a PROXY line that is none",
  ],
  [
    "v1 with another protocol",
    line("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n"),
    "a PROXY line that is none",
  ],
  ["v2 of version 3", v2(0x31, 0x11, "c0000207c6336401c8220019"), "an unknown PROXY version or command"],
  [
    "v2 with another command",
    v2(0x22, 0x11, "c0000207c6336401c8220019"),
    "an unknown PROXY version or command",
  ],
  ["v2 without its addresses", v2(0x21, 0x11, "c0000207"), "a PROXY header without its addresses"],
  ["v2 that is too long", v2(0x21, 0x11, "", 5000), "a PROXY header that is too long"],
];

describe("a PROXY header", () => {
  for (const [name, bytes, expected] of GOOD) {
    it(`${name}: is read, however it comes, and nothing behind it`, () => {
      expect(parseProxyHeader(Buffer.concat([bytes, line("EHLO x\r\n")]))).toEqual(expected);
      for (let length = 1; length < bytes.length; length++) {
        expect(parseProxyHeader(bytes.subarray(0, length))).toEqual({ state: "more" });
      }
    });
  }
  for (const [name, bytes, why] of BAD) {
    it(`${name}: is refused`, () => expect(parseProxyHeader(bytes)).toEqual({ state: "bad", why }));
  }
});
