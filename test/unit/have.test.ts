import { describe, expect, it } from "vitest";
import { needs, supports } from "../support/have.ts";

const SUPPORT = `=== AUTH CRAM-MD5 supported
*** IPv6 not available: requires IO::Socket::INET6
*** TLS not available: requires Net::SSLeay
=== Socket Transport supported
`;

describe("a test that needs something of the machine", () => {
  it("swaks without its TLS module was taken for one with it", () => {
    expect(supports(SUPPORT, "TLS")).toBe(false);
    expect(supports(SUPPORT, "AUTH CRAM-MD5")).toBe(true);
    expect(
      supports(SUPPORT.replace("*** TLS not available: requires Net::SSLeay", "=== TLS supported"), "TLS"),
    ).toBe(true);
    expect(supports("", "TLS")).toBe(false); // not installed
  });

  it("is skipped with the reason, and only when something is missing", () => {
    const calls: unknown[][] = [];
    const skip = (...args: unknown[]) => void calls.push(args);
    needs({ skip } as never, { met: true, what: "a" }, { met: false, what: "b" }, { met: false, what: "c" });
    needs({ skip } as never, { met: true, what: "a" });
    expect(calls).toEqual([
      [true, "needs b and c"],
      [false, "needs "],
    ]);
  });
});
