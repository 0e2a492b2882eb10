import { describe, expect, it } from "vitest";
import { TestDaemon } from "../support/daemon.ts";
import { killRuns } from "../support/kill-runs.ts";

describe("kill -9", () => {
  it("under load, three times: every mail that got 250 is there once", { timeout: 300_000 }, async () => {
    const d = await new TestDaemon({ config: '[[recipient]]\naddress = "@example.org"\n' }).start();
    const result = await killRuns(d, 300, 3);
    expect(result).toMatchObject({ acknowledged: 300, kills: 3, lost: [], doubled: [] });
    expect(d.stats()).toMatchObject({ "archive.report.dmarc": 300, "archive.record": 900 });
    await d.stop();
    d.remove();
  });
});
