/** What is made to hurt is refused with its reason, and gives nothing. */
import { describe, expect, it } from "vitest";
import { hostileInputs } from "../support/hostile.js";
import { read } from "../support/reading.ts";

describe("hostile input is refused", () => {
  for (const { name, form, fileName, reasons, make } of hostileInputs()) {
    it(name, () => {
      const found = read(make(), { form, fileName });
      expect(found.ids).toEqual([]);
      expect(reasons).toContain(found.reason);
    });
  }
});
