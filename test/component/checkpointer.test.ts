/** Checkpoints in a thread of their own: the writer does not wait for them, and their errors are told. */
import { mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Checkpointer, makeCheckpointer } from "../../src/store/sqlite/checkpointer.ts";
import { openDatabase, type Sqlite } from "../../src/store/sqlite/open.ts";
import { ROOT } from "../support/build.ts";
import { until } from "../support/wait.ts";

const program = pathToFileURL(join(ROOT, "dist", "store", "sqlite", "checkpoint-worker.js"));

describe("a checkpoint", () => {
  let folder: string;
  let path: string;
  let database: Sqlite;
  let checkpointer: Checkpointer;
  let time = 0;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "checkpointer-"));
    path = join(folder, "a.db");
    database = openDatabase(path, { checkpointPages: 1_000_000 });
    database.exec("CREATE TABLE row (body BLOB)");
    time = 0;
    checkpointer = makeCheckpointer(path, { elapsed: () => time, program });
  });
  afterEach(async () => {
    await checkpointer.close();
    database.close();
    rmSync(folder, { recursive: true });
  });

  const write = (): void => void database.exec("INSERT INTO row VALUES (randomblob(2000000))");
  const size = (): number => statSync(path).size;

  it("was made by a commit, which waited for it: the thread makes it", async () => {
    write();
    expect(size()).toBeLessThan(1_000_000);
    await checkpointer.run();
    expect(size()).toBeGreaterThan(2_000_000);
  });

  it("followed each commit: it begins when the last one was long ago", async () => {
    write();
    checkpointer.committed();
    await checkpointer.close(); // a checkpoint that had begun would be over
    expect(size()).toBeLessThan(1_000_000);
    time += 2000;
    checkpointer.committed();
    await until("the checkpoint", () => size() > 2_000_000);
  });

  it("that failed ended the thread's use: its error is of the store, and the next one succeeds", async () => {
    const damaged = join(folder, "b.db");
    writeFileSync(damaged, "not a database, whatever its name says".repeat(50));
    const other = makeCheckpointer(damaged, { elapsed: () => time, program });
    await expect(other.run()).rejects.toMatchObject({ code: "store.corrupt" });
    time += 2000;
    other.committed(); // nobody waits for it
    renameSync(damaged, join(folder, "c.db"));
    await other.run();
    await other.close();
    const none = makeCheckpointer(path, { elapsed: () => time, program: new URL("file:///nowhere.js") });
    await expect(none.run()).rejects.toMatchObject({ code: "store.io" });
    await none.close();
  });
});
