/**
 * The end-to-end tests with the archive behind a wrapper that starts operations late and lets answers overtake each other.
 * Left out: tests that start another program than the daemon of the tests, so that there is no wrapper in it.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";

/** `tour` runs the commands of the README as they stand. */
const LEFT_OUT = ["tour.test.ts"];

const files = readdirSync(join(ROOT, "test", "e2e")).filter(
  (name) => name.endsWith(".test.ts") && !LEFT_OUT.includes(name),
);

describe("the daemon over an archive that answers late and in another order", () => {
  for (const file of files)
    it(`passes test/e2e/${file}`, () => {
      const vitest = join(ROOT, "node_modules", "vitest", "vitest.mjs");
      const ran = spawnSync(process.execPath, [vitest, "run", join("test", "e2e", file)], {
        cwd: ROOT,
        env: { ...process.env, MAILREPORTD_DELAYED_ARCHIVE: "1", MAILREPORTD_SKIP_BUILD: "1" },
      });
      expect(ran.status, `${ran.stdout}\n${ran.stderr}`).toBe(0);
    });
});
