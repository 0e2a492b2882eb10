/** The process that checks a database. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { ROOT } from "../support/build.ts";

const { checkDatabase } = (await import(
  join(ROOT, "dist/store/sqlite/maintenance.js")
)) as typeof import("../../src/store/sqlite/maintenance.ts");

describe("the check of a database", () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "check-"));
    path = join(dir, "queue.db");
    openQueueStore(path).close();
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it("finds nothing in a database that is ok, and tells what it cannot open", async () => {
    expect(await checkDatabase(path)).toEqual([]);
    writeFileSync(path, "no database".repeat(1000));
    // whoever shows it says that the database is damaged
    expect(await checkDatabase(path)).toEqual([expect.stringMatching(/^(?!.*is damaged).*not a database/)]);
  });

  it("that was long held up the end of the daemon: it is ended", async () => {
    const stop = new AbortController();
    const checking = checkDatabase(path, stop.signal);
    stop.abort();
    await expect(checking).rejects.toMatchObject({ code: "daemon.stopping" });
  });
});
