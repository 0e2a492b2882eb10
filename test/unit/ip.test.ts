import { describe, expect, it } from "vitest";
import { clientKeyOf, isSpecialAddress, normalizeIp, readIp } from "../../src/model/ip.ts";

describe("readIp", () => {
  const good = (text: string, ip: string) => expect(readIp(text)?.ip).toBe(ip);
  const bad = (text: string) => expect(readIp(text)).toBeUndefined();

  it("gives the canonical form", () => {
    good("192.0.2.1", "192.0.2.1");
    good("2001:DB8:0:0:0:0:0:25", "2001:db8::25");
    good("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"); // RFC 5952 4.2.2: one zero group is not shortened
    good("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"); // the longest run
    good("::", "::");
    good("::ffff:192.0.2.25", "192.0.2.25");
    good("::ffff:c000:219", "192.0.2.25");
  });
  it("strips what reporters put around it", () => {
    good("[2001:db8::1]", "2001:db8::1");
    good("[192.0.2.1]:25", "192.0.2.1");
    good("192.0.2.1:25", "192.0.2.1");
    good("IPv6:2001:db8::1", "2001:db8::1");
    good("fe80::1%eth0", "fe80::1");
    good(" 192.0.2.1 (mail.example)", "192.0.2.1");
  });
  it("refuses what is none", () => {
    for (const text of [
      "",
      "unknown",
      "192.0.2",
      "192.0.2.256",
      "2001:db8::1::2",
      "example.com",
      "1.2.3.4.5",
    ])
      bad(text);
  });
});

describe("isSpecialAddress", () => {
  it("knows what is not on the public Internet", () => {
    for (const ip of [
      "127.0.0.1",
      "10.1.2.3",
      "169.254.1.1",
      "100.64.0.1",
      "::1",
      "fe80::1",
      "fd00::1",
      "::ffff:127.0.0.1",
      "64:ff9b::7f00:1",
      "2002:7f00:1::",
      "0.0.0.0",
      "not an address",
    ]) {
      expect(isSpecialAddress(ip), ip).toBe(true);
    }
    for (const ip of ["8.8.8.8", "100.63.255.255", "2606:4700::1111", "172.32.0.1"]) {
      expect(isSpecialAddress(ip), ip).toBe(false);
    }
  });
});

describe("clientKeyOf", () => {
  it("groups IPv6 by /64", () => {
    expect(clientKeyOf("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
    expect(clientKeyOf("::ffff:192.0.2.1")).toBe("192.0.2.1");
  });
  it("normalizeIp takes plain addresses only", () => {
    expect(normalizeIp("[::1]")).toBeUndefined();
    expect(normalizeIp("::0001")).toBe("::1");
  });
});
