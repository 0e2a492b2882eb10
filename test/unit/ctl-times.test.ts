/** Times as people type them. */
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/ctl/grammar.ts";
import { readTime } from "../../src/ctl/times.ts";

const NOW = Date.UTC(2026, 10, 21, 12, 0, 0);
const utc = (...parts: [number, number, number, number?, number?, number?]) => Date.UTC(...parts) / 1000;

describe("times", () => {
  it.each([
    ["now", utc(2026, 10, 21, 12)],
    ["2026-11-20", utc(2026, 10, 20)],
    ["2024-02-29", utc(2024, 1, 29)],
    ["2026-11-20T12:30", utc(2026, 10, 20, 12, 30)], // without a zone it is UTC, wherever the client stands
    ["2026-11-20 12:30:05", utc(2026, 10, 20, 12, 30, 5)],
    ["2026-11-20T12:30:05.999Z", utc(2026, 10, 20, 12, 30, 5)],
    ["2026-11-20T12:30:05z", utc(2026, 10, 20, 12, 30, 5)],
    ["2026-11-20T01:00:00+02:00", utc(2026, 10, 19, 23)],
    ["2026-11-19T23:30:00-0130", utc(2026, 10, 20, 1)],
    ["@1795132800", 1_795_132_800],
    ["1795132800", 1_795_132_800],
    ["@0", 0],
    ["-7d", utc(2026, 10, 14, 12)],
    ["+30m", utc(2026, 10, 21, 12, 30)],
    ["-1d12h", utc(2026, 10, 20)],
    ["-99999d", 0],
  ])("%s", (text, time) => {
    expect(readTime(text, NOW)).toBe(time);
    expect(readTime(text, NOW, "ago")).toBe(time);
  });

  it("takes a span without a sign for the past, where only the past can be meant", () => {
    expect(readTime("7d", NOW, "ago")).toBe(utc(2026, 10, 14, 12));
    expect(readTime("90m", NOW, "ago")).toBe(utc(2026, 10, 21, 10, 30));
    expect(() => readTime("7d", NOW)).toThrow(UsageError);
  });

  it.each([
    "",
    "yesterday-ish",
    "2026-02-30",
    "2026-13-01",
    "2026-00-10",
    "2026-1-1",
    "2026-11-20T24:00",
    "2026-11-20T12:60",
    "2026-11-20T12",
    "20261120",
    "7",
    "7x",
    "--7d",
    "-",
    "+",
    "@",
    "@12345678901234",
    "Fri, 20 Nov 2026",
  ])("refuses %j, with the possibilities", (text) => {
    try {
      readTime(text, NOW, "ago");
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      expect((error as UsageError).lines.slice(0, 3)).toEqual([
        `not a time: ${text}`,
        "possibilities are:",
        "2026-11-20",
      ]);
      return;
    }
    expect.unreachable();
  });
});
