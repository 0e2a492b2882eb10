/** The manual: what the tables say, in correct mdoc. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { OUTCOMES, REASONS, WARNINGS } from "../../src/model/outcome.ts";
import { ROOT } from "../support/build.ts";
import { needs, program } from "../support/have.ts";

const FOLDER = join(ROOT, "etc", "man");
const { manualPages } = (await import(join(ROOT, "contrib", "man.js"))) as {
  manualPages: () => Record<string, string>;
};

describe("the manual", () => {
  it("says what the tables say (npm run docs writes it)", () => {
    const pages = manualPages();
    expect(readdirSync(FOLDER).sort()).toEqual(Object.keys(pages).sort());
    for (const [name, text] of Object.entries(pages))
      expect(readFileSync(join(FOLDER, name), "utf8"), name).toBe(text);
  });

  it("lists every outcome, reason and warning", () => {
    const text = readFileSync(join(FOLDER, "mailreport-codes.7"), "utf8");
    for (const code of [...OUTCOMES, ...Object.keys(REASONS), ...Object.keys(WARNINGS)]) {
      expect(
        text.split("\n").filter((line) => line.startsWith(`.It Cm ${code}`)).length,
        code,
      ).toBeGreaterThan(0);
    }
  });

  it("passes mandoc without a warning", (context) => {
    needs(context, program("mandoc"));
    for (const name of readdirSync(FOLDER)) {
      const ran = spawnSync("mandoc", ["-T", "lint", "-W", "warning", join(FOLDER, name)], {
        encoding: "utf8",
      });
      expect(ran.stdout, name).toBe("");
      expect(ran.status, name).toBe(0);
    }
  });
});
