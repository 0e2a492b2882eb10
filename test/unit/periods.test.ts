/** Periods, due times and ids of outgoing reports; the same in any time zone. */
import { describe, expect, it } from "vitest";
import { dmarcPolicyHash, dueAt, periodAt, reportIdOf, tlsRecordHash } from "../../src/report/periods.ts";
import { POLICY } from "../support/events.ts";
import { testConfig } from "../support/test-config.ts";

const at = (text: string): number => Date.parse(text) / 1000;
const SECRET = Buffer.alloc(32, 1);
const NAMED = testConfig({
  report: {
    interval: "24h",
    intervals: [
      { domain: "Hourly.Example", interval: "1h" },
      { domain: "six.example", interval: "6h" },
    ],
  },
});

describe("a period", () => {
  it.each([
    ["example.com", "2026-11-19T00:00:00Z", "2026-11-19T00:00:00Z", "2026-11-19T23:59:59Z"],
    ["example.com", "2026-11-19T23:59:59Z", "2026-11-19T00:00:00Z", "2026-11-19T23:59:59Z"],
    ["hourly.example", "2026-11-19T12:34:56Z", "2026-11-19T12:00:00Z", "2026-11-19T12:59:59Z"],
    ["six.example", "2026-11-19T05:59:59Z", "2026-11-19T00:00:00Z", "2026-11-19T05:59:59Z"],
  ])("of %s at %s lies on the UTC grid", (domain, time, begin, end) => {
    expect(periodAt(NAMED, "dmarc", domain, at(time))).toEqual({ begin: at(begin), end: at(end) });
  });

  it("of TLS reports is a day always", () => {
    const { begin, end } = periodAt(NAMED, "tls", "hourly.example", at("2026-11-19T12:34:56Z"));
    expect([begin, end]).toEqual([at("2026-11-19T00:00:00Z"), at("2026-11-19T23:59:59Z")]);
  });

  it("is the same on a host in Kathmandu", () => {
    const own = process.env.TZ;
    process.env.TZ = "Asia/Kathmandu";
    try {
      expect(new Date(at("2026-11-19T00:00:00Z") * 1000).getHours()).toBe(5);
      expect(periodAt(NAMED, "dmarc", "example.com", at("2026-11-19T23:00:00Z")).begin).toBe(
        at("2026-11-19T00:00:00Z"),
      );
      expect(reportIdOf("dmarc", "x", { begin: at("2026-11-19T23:00:00Z"), end: 0 }, 0, SECRET)).toMatch(
        /^d20261119/,
      );
    } finally {
      if (own === undefined) delete process.env.TZ;
      else process.env.TZ = own;
    }
  });
});

describe("a due time", () => {
  const period = { begin: at("2026-11-19T00:00:00Z"), end: at("2026-11-19T23:59:59Z") };
  const due = (domain: string, kind: "dmarc" | "tls" = "dmarc", secret = SECRET): number =>
    dueAt(testConfig(), kind, domain, period, secret);

  it("follows the settle time and lies in the window, a different share for each domain", () => {
    const first = at("2026-11-20T00:05:00Z");
    const times = Array.from({ length: 500 }, (_, i) => due(`d${i}.example`));
    expect(Math.min(...times)).toBeGreaterThanOrEqual(first);
    expect(Math.max(...times)).toBeLessThan(first + 7200);
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(6000);
    const tls = Array.from({ length: 500 }, (_, i) => due(`d${i}.example`, "tls"));
    expect(Math.max(...tls)).toBeGreaterThan(first + 7200);
    expect(Math.max(...tls)).toBeLessThan(first + 4 * 3600);
  });

  it("is decided by what the report is and by the instance, so that a restart changes nothing", () => {
    expect(due("example.com")).toBe(due("example.com"));
    expect(due("example.com")).not.toBe(due("example.com", "dmarc", Buffer.alloc(32, 2)));
  });

  it("has no spread when the window is zero", () => {
    const config = testConfig({ report: { dmarc_jitter: "0", settle: "0" } });
    expect(dueAt(config, "dmarc", "example.com", period, SECRET)).toBe(at("2026-11-20T00:00:00Z"));
  });
});

describe("a policy hash", () => {
  it.each([
    [{ p: "none" }, false],
    [{ adkim: "s" }, false],
    [{ aspf: "s" }, false],
    [{ fo: "1" }, false],
    [{ testing: "y" }, false],
    [{ discovery: "psl" }, false],
    [{ np: "none" }, false],
    [{ sp: "none" }, false],
    [{ sp: "reject" }, true], // what it is without being said
    [{ np: "reject" }, true],
    [{ psd: "n" }, true],
    [{ domain: "other.example" }, true],
  ] as const)("of %j is the same: %s", (change, same) => {
    expect(dmarcPolicyHash({ ...POLICY, ...change }) === dmarcPolicyHash(POLICY)).toBe(same);
  });

  it("of TLS reports is over the set of addresses", () => {
    expect(tlsRecordHash(["mailto:a@x", "mailto:b@x"])).toBe(
      tlsRecordHash(["mailto:b@x", "mailto:a@x", "mailto:a@x"]),
    );
    expect(tlsRecordHash(["mailto:a@x"])).not.toBe(tlsRecordHash(["mailto:b@x"]));
    expect(tlsRecordHash(null)).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe("a report id", () => {
  it("is alphanumeric, 22 characters, and the same each time", () => {
    const period = { begin: at("2026-11-19T00:00:00Z"), end: at("2026-11-19T23:59:59Z") };
    const id = reportIdOf("tls", "t!example.com!0!0", period, 0, SECRET);
    expect(id).toMatch(/^t20261119[a-z2-7]{13}$/);
    expect(reportIdOf("tls", "t!example.com!0!0", period, 0, SECRET)).toBe(id);
  });

  it("is another one for each report, part, and end", () => {
    const ids = new Set<string>();
    const begin = at("2026-11-19T00:00:00Z");
    for (let i = 0; i < 10_000; i++)
      ids.add(reportIdOf("dmarc", `d!d${i >> 2}`, { begin, end: begin + (i & 1) }, (i >> 1) & 1, SECRET));
    expect(ids.size).toBe(10_000);
  });
});
