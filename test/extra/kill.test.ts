import { describe, expect, it } from "vitest";
import { newFolderInMemory, TestDaemon } from "../support/daemon.ts";
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

  it("twelve times in a burst from 60 connections: every mail that got 250 is there once", async () => {
    const config = "[receive]\nverify = false\n";
    const d = await new TestDaemon({ dir: newFolderInMemory(), config }).start();
    const result = await killRuns(d, 3000, 12, 60);
    expect(result).toMatchObject({ acknowledged: 3000, kills: 12, lost: [], doubled: [] });
    const stats = await d.statsNow();
    expect(stats).toMatchObject({
      "archive.report.dmarc": 3000,
      "archive.record": 9000,
      "archive.unread": 0,
    });
    await d.stop();
    d.remove();
  });
});
