import { describe, expect, it } from "vitest";
import { smoothed } from "../../src/lib/smoothed.ts";

describe("a smoothed measure", () => {
  it("begins with the first sample and follows the others", () => {
    expect(smoothed(0, 4)).toBe(4);
    expect(smoothed(4, 4)).toBe(4);
    let value = 4;
    for (let n = 0; n < 100; n++) value = smoothed(value, 1);
    expect(value).toBeCloseTo(1, 3);
  });

  it("is not carried away by one that is far off", () => {
    expect(smoothed(0.4, 12)).toBeCloseTo(0.45);
  });
});
