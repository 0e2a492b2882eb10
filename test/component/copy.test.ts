/** Copies of a database that is in use: the state of one moment, in pieces, and nothing left behind by one that fails. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { copyDatabase } from "../../src/store/sqlite/copy.ts";
import { openDatabase, type Sqlite } from "../../src/store/sqlite/open.ts";
import { ROOT } from "../support/build.ts";
import { canMount, SmallDisk } from "../support/small-disk.ts";
import { until } from "../support/wait.ts";

const program = pathToFileURL(join(ROOT, "dist", "store", "sqlite", "copy-worker.js"));

describe("a copy", () => {
  let folder: string;
  let database: Sqlite;
  let from: string;
  let to: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "copy-"));
    from = join(folder, "from.db");
    to = join(folder, "to.db");
    database = openDatabase(from);
    database.exec("CREATE TABLE row (id INTEGER PRIMARY KEY, moment INTEGER, body BLOB)");
  });
  afterEach(() => {
    database.close();
    rmSync(folder, { recursive: true });
  });

  const fill = (megabytes: number): void => {
    const insert = database.prepare("INSERT INTO row (moment, body) VALUES (0, randomblob(65536))");
    database.transaction(() => {
      for (let n = 0; n < megabytes * 16; n++) insert.run();
    })();
  };
  const momentsOf = (path: string): unknown[] => {
    const copy = openDatabase(path, { readonly: true });
    try {
      expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
      return copy.prepare("SELECT DISTINCT moment FROM row").pluck().all();
    } finally {
      copy.close();
    }
  };

  it("began again with each commit of the writer, and never ended: it is the state of one moment", async () => {
    fill(12);
    // each transaction changes all rows, so that a copy of two moments is seen
    const change = database.prepare("UPDATE row SET moment = ?");
    let done = false;
    let commits = 0;
    const copying = copyDatabase(from, to, { program }).finally(() => {
      done = true;
    });
    while (!done) {
      change.run(++commits);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { bytes } = await copying;
    expect(commits).toBeGreaterThan(3);
    expect(momentsOf(to)).toHaveLength(1);
    expect(statSync(to).size).toBe(bytes);
    expect(existsSync(`${to}-journal`)).toBe(false);
  });

  it("kept the write-ahead log as long as it had become: it is cut to its limit by the next write after a checkpoint", async () => {
    database.pragma("journal_size_limit = 1000000");
    fill(12);
    database.pragma("wal_checkpoint(TRUNCATE)");
    const copying = copyDatabase(from, to, { program });
    await until("the copy to begin", () => existsSync(to));
    fill(6);
    const wal = (): number => statSync(`${from}-wal`).size;
    expect(wal()).toBeGreaterThan(6_000_000);
    await copying;
    database.pragma("wal_checkpoint(PASSIVE)");
    database.exec("UPDATE row SET moment = 1 WHERE id = 1");
    expect(wal()).toBeLessThanOrEqual(1_000_000);
  });

  it("could not be ended: the next piece is not copied, the error is the reason, nothing is left", async () => {
    fill(40);
    const abort = new AbortController();
    const reason = new MailreportError("daemon.stopping");
    const copying = expect(copyDatabase(from, to, { program, signal: abort.signal })).rejects.toBe(reason);
    await until("the copy to begin", () => existsSync(to));
    abort.abort(reason);
    await copying;
    expect(readdirSync(folder).filter((name) => name.startsWith("to"))).toEqual([]);
    await expect(copyDatabase(from, to, { program, signal: abort.signal })).rejects.toBe(reason);
  });

  it("an error of a copy looked like a bug: it is one of the store and names the file, and the next copy succeeds", async () => {
    fill(1);
    await expect(copyDatabase(from, "/proc/copy.db", { program })).rejects.toMatchObject({
      code: "store.io",
      detail: expect.stringContaining("/proc/copy.db"),
    });
    await expect(copyDatabase(join(folder, "none.db"), to, { program })).rejects.toMatchObject({
      code: "store.io",
      detail: expect.stringContaining("none.db"),
    });
    const damaged = join(folder, "damaged.db");
    writeFileSync(damaged, "not a database, whatever its name says".repeat(50));
    await expect(copyDatabase(damaged, to, { program })).rejects.toMatchObject({ code: "store.corrupt" });
    expect(existsSync(to)).toBe(false);
    expect((await copyDatabase(from, to, { program })).bytes).toBeGreaterThan(1_000_000);
  });

  it.skipIf(!canMount())("a full disk left a part of the copy: nothing is left", async () => {
    const disk = new SmallDisk("4m");
    try {
      fill(8);
      await expect(copyDatabase(from, join(disk.path, "to.db"), { program })).rejects.toMatchObject({
        code: "store.full",
      });
      expect(readdirSync(disk.path).filter((name) => name.startsWith("to.db"))).toEqual([]);
    } finally {
      disk.remove();
    }
  });
});
