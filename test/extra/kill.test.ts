import { describe, expect, it } from "vitest";
import { TestDaemon } from "../support/daemon.ts";
import { killRuns } from "../support/kill-runs.ts";

describe("kill -9, at length", () => {
  it("ten times during 2,000 mails: every mail that got 250 is there once", async () => {
    const d = await new TestDaemon().start();
    const result = await killRuns(d, 2000, 10);
    expect(result).toMatchObject({ acknowledged: 2000, kills: 10, lost: [], doubled: [] });
    expect(d.stats()).toMatchObject({ "archive.report.dmarc": 2000, "archive.record": 6000 });
    await d.stop();
    d.remove();
  });
});
