/** What is looked at in a mail before it is taken, and the field that is put before it. */
import { describe, expect, it } from "vitest";
import { inspect } from "../../src/receive/smtp/data.ts";
import { receivedField } from "../../src/receive/smtp/received.ts";

const HOPS: [string, number][] = [
  ["", 0],
  ["Received: x", 1],
  ["Received: x\r\nRECEIVED: y\r\nreceived: z\r\n\r\n", 3],
  ["Received: x\nReceived: y\n\nReceived: in the text\n", 2],
  ["Subject: x\r\n\r\nReceived: in the text\r\n", 0],
  ["\r\nReceived: in the text\r\n", 0],
  ["Received-SPF: x\r\nX-Received: y\r\n Received: folded\r\n\r\n", 0],
  ["Received : x\r\n\r\n", 0],
  ["Receive", 0],
  [`${"Received: x\r\n".repeat(51)}\r\n`, 51],
  [`${"Received: x\r\n".repeat(40_000)}`, 20_165], // as many as begin in the first 256 KB
];

const SMUGGLED: [string, boolean][] = [
  ["x: y\r\n\r\na\rb\n.\r\n", true],
  ["x: y\r\n\r\n\n.\r", true],
  ["x: y\r\n\r\n\r.\r\n.\r\n", true],
  ["x: y\r\n\r\na\r\n.\r\nb\r\n", false], // a line of one dot, as it came: ".."
  ["x: y\r\n\r\na\rb\r\n", false], // sloppy, but it ends nothing
  ["x: y\r\n\r\n\r.\r", false],
  ["x: y\n\n.\nb\n", false],
];

describe("a mail before it is taken", () => {
  for (const [mail, hops] of HOPS) {
    it(`has ${hops} Received fields: ${JSON.stringify(mail.slice(0, 60))}`, () => {
      expect(inspect(Buffer.from(mail, "latin1")).hops).toBe(hops);
    });
  }
  for (const [mail, smuggled] of SMUGGLED) {
    it(`${smuggled ? "may hide" : "hides no"} second mail: ${JSON.stringify(mail)}`, () => {
      expect(inspect(Buffer.from(mail, "latin1")).smuggled).toBe(smuggled);
    });
  }
});

describe("the Received field", () => {
  const facts = {
    helo: "client.example",
    remoteIp: "192.0.2.7",
    by: "mx.example.org",
    protocol: "ESMTPS",
    to: "dmarc@example.org",
    time: 1795046400,
    id: "abc",
  };

  it("names who, how, for whom and when", () => {
    expect(receivedField(facts)).toBe(
      "Received: from client.example ([192.0.2.7])\r\n\tby mx.example.org (mailreportd) with ESMTPS id abc\r\n\tfor <dmarc@example.org>;\r\n\tThu, 19 Nov 2026 00:00:00 +0000\r\n",
    );
    expect(receivedField({ ...facts, remoteIp: "2001:db8::7", to: null, time: 1795046401 })).toBe(
      "Received: from client.example ([IPv6:2001:db8::7])\r\n\tby mx.example.org (mailreportd) with ESMTPS id abc;\r\n\tThu, 19 Nov 2026 00:00:01 +0000\r\n",
    );
    expect(receivedField({ ...facts, remoteIp: null })).toMatch(/^Received: from client\.example\r\n\tby /);
  });

  it("lets nothing of a hostile name through but printable letters", () => {
    const field = receivedField({
      ...facts,
      helo: "a\r\nBcc: b\u202e ü".padEnd(400, "z"),
      to: "x y@é.example",
    });
    expect(field).toMatch(/^Received: from a\\u\{d\}\\u\{a\}Bcc:\?b\\u\{202e\}\?\?z{1,230} \(\[/);
    expect(field).toContain("for <x?y@?.example>;");
    expect(field.split("\r\n")).toHaveLength(5);
  });
});
