/** Damaged reports of the corpus, in a process of their own: nothing throws, hangs, or stays in memory. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../support/build.ts";

const CASES = process.env.MAILREPORTD_MUTATIONS ?? "3000";
const SEED = "1";

it(`reads ${CASES} mutations of the corpus and all that is made to hurt`, { timeout: 300_000 }, () => {
  const program = join(ROOT, "test", "fuzz", "mutate.js");
  const ran = spawnSync(process.execPath, ["--expose-gc", program, CASES, SEED], { encoding: "utf8" });
  console.log(
    ran.stdout
      .trim()
      .split("\n")
      .filter((line) => /mutations|slowest|quarter/.test(line))
      .join("\n"),
  );
  expect(ran.status, ran.stderr).toBe(0);
  expect(ran.stdout).toContain(`${CASES} mutations`);
});
