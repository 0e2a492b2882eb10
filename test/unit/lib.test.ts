import { describe, expect, it } from "vitest";
import { DueTimer } from "../../src/lib/clock.ts";
import { base32, isEnvelopeId, isMessageId } from "../../src/lib/ids.ts";
import { clean, nearest } from "../../src/lib/text.ts";
import { formatDuration, iso, parseDuration, parseSize } from "../../src/lib/units.ts";
import { normalizeDomain, parseAddress } from "../../src/model/domain-name.ts";
import { outgoingId, parseOutgoingId } from "../../src/model/outgoing.ts";
import { FakeClock } from "../support/fake-clock.ts";

describe("units", () => {
  it("reads sizes in powers of 1024", () => {
    expect([parseSize("25M"), parseSize("64 KiB"), parseSize("0"), parseSize("7")]).toEqual([
      26_214_400, 65_536, 0, 7,
    ]);
    expect([parseSize("x"), parseSize("-1"), parseSize("1.5M")]).toEqual([undefined, undefined, undefined]);
  });
  it("reads durations", () => {
    expect([parseDuration("1h30m"), parseDuration("90s"), parseDuration("0"), parseDuration("14d")]).toEqual([
      5_400_000, 90_000, 0, 1_209_600_000,
    ]);
    expect([parseDuration(""), parseDuration("5"), parseDuration("5 parsecs")]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
  it("writes both", () => {
    expect(formatDuration(93_784_000)).toBe("1d2h");
    expect(iso(0)).toBe("1970-01-01T00:00:00Z");
  });
});

describe("text", () => {
  it("escapes what a terminal or a reader would obey", () => {
    expect(clean("a\u001b[31mb\u009bc\u202ed\u200be\ufefff\n")).toBe(
      "a\\u{1b}[31mb\\u{9b}c\\u{202e}d\\u{200b}e\\u{feff}f\\u{a}",
    );
    expect(clean("\ud800x😀é")).toBe("\\u{d800}x😀é");
  });
  it("finds the nearest word", () => {
    expect(nearest("lisen", ["listen", "relay"])).toBe("listen");
    expect(nearest("zzzzzz", ["listen"])).toBeUndefined();
  });
});

describe("ids", () => {
  it("have OpenSMTPD's shape", () => {
    expect(isEnvelopeId("3628aa4b01020304") && isMessageId("3628aa4b") && !isMessageId("00000000")).toBe(
      true,
    );
    expect(base32(Uint8Array.of(0x66, 0x6f, 0x6f), 5)).toBe("mzxw6".slice(0, 4)); // 24 bits give four whole characters
  });
  it("outgoing ids read back, with ! or :", () => {
    const id = outgoingId("dmarc", "example.net", "9c1f7a5e02b4d816", 1795132800);
    expect(parseOutgoingId(id.replaceAll("!", ":"))).toEqual({
      kind: "dmarc",
      domain: "example.net",
      policyHash: "9c1f7a5e02b4d816",
      begin: 1795132800,
    });
    expect(parseOutgoingId("t!example.org")).toEqual({
      kind: "tls",
      domain: "example.org",
      policyHash: null,
      begin: null,
    });
    expect(parseOutgoingId("x!y")).toBeUndefined();
  });
});

describe("names", () => {
  it("domains become A-labels", () => {
    expect(normalizeDomain("Bücher.Example.")).toBe("xn--bcher-kva.example");
    expect(normalizeDomain("_dmarc.example.com")).toBe("_dmarc.example.com");
    for (const bad of ["", ".", "a..b", "-a.example", "a b.example", `${"a".repeat(64)}.example`]) {
      expect(normalizeDomain(bad), bad).toBeUndefined();
    }
  });
  it("addresses are one mailbox and nothing else", () => {
    expect(parseAddress("Rua+x@Example.COM")).toEqual({ local: "Rua+x", domain: "example.com" });
    for (const bad of [
      "a@b@",
      "b@y.example>\r\nRCPT TO:<evil@z",
      "Group:a@b;",
      "a@b, c@d",
      "@x",
      "a b@x",
      "a@[127.0.0.1]",
    ]) {
      expect(parseAddress(bad), bad).toBeUndefined();
    }
  });
});

describe("DueTimer", () => {
  it("runs what is due, once, and sleeps until the next", async () => {
    const clock = new FakeClock();
    let due: number | undefined = clock.now() + 90 * 86_400_000;
    const runs: number[] = [];
    const timer = new DueTimer(
      clock,
      () => due,
      async () => {
        runs.push(clock.now());
        due = undefined;
      },
      (e) => {
        throw e;
      },
    );
    timer.start();
    await clock.advance(89 * 86_400_000);
    expect(runs).toEqual([]);
    await clock.advance(86_400_000);
    expect(runs).toHaveLength(1);
    expect(clock.pendingTimers).toBe(0);
    due = clock.now() - 5;
    timer.wake();
    await clock.advance(0);
    expect(runs).toHaveLength(2);
    await timer.stop();
  });
  it("asks again after a minute when the store cannot say what is due", async () => {
    const clock = new FakeClock();
    const errors: unknown[] = [];
    let locked = true;
    let done = 0;
    const timer = new DueTimer(
      clock,
      () => {
        if (locked) throw new Error("locked");
        return done === 0 ? clock.now() : undefined;
      },
      async () => {
        done++;
      },
      (e) => errors.push(e),
    );
    timer.start();
    await clock.advance(1);
    locked = false;
    await clock.advance(60_000);
    expect([errors.length, done]).toEqual([1, 1]);
    await timer.stop();
    expect(clock.pendingTimers).toBe(0);
  });
  it("goes on a minute after a failure, and notices a clock that jumped within an hour", async () => {
    const clock = new FakeClock();
    const errors: unknown[] = [];
    let fail = true;
    let due: number | undefined = clock.now();
    let done = 0;
    const timer = new DueTimer(
      clock,
      () => due,
      async () => {
        if (fail) throw new Error("once");
        done++;
        due = undefined;
      },
      (e) => errors.push(e),
    );
    timer.start();
    await clock.advance(1);
    expect([errors.length, done]).toEqual([1, 0]);
    fail = false;
    await clock.advance(60_000);
    expect(done).toBe(1);
    due = clock.now() + 30 * 86_400_000;
    timer.wake();
    clock.jump(40 * 86_400_000);
    await clock.advance(3_600_000);
    expect(done).toBe(2);
  });
});
