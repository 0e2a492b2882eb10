/** Copies of both databases: one that fails is told and leaves nothing, and the next one runs. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Backup } from "../../src/daemon/backup.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { recordedLog } from "../support/recorded-log.ts";
import { until } from "../support/wait.ts";

describe("a backup", () => {
  let folder: string;
  let copy: (path: string, signal?: AbortSignal) => Promise<{ readonly bytes: number }>;
  let stop: AbortController;
  let backup: Backup;
  const log = recordedLog();

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "backup-"));
    log.lines.length = 0;
    copy = async (path) => {
      writeFileSync(path, "a copy");
      return { bytes: 6 };
    };
    stop = new AbortController();
    backup = new Backup({
      archivePath: join(folder, "archive.db"),
      queuePath: join(folder, "queue.db"),
      copy: (_, to, signal) => copy(to, signal),
      stopping: stop.signal,
      log,
    });
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it.each([
    ["a full disk", () => Promise.reject(new MailreportError("store.full")), "store.full"],
    ["a bug", () => Promise.reject(new TypeError("a bug")), "store.io"],
  ])("%s in a backup is its answer: no half copy stays, the next one succeeds", async (_, fault, code) => {
    const good = copy;
    copy = fault;
    const target = join(folder, "copy");
    await expect(backup.run(target)).rejects.toMatchObject({ code });
    expect(log.of("unit.failed")).toMatchObject([{ unit: "backup", folder: target, code }]);
    expect(existsSync(target)).toBe(false);
    copy = good;
    expect(await backup.run(target)).toMatchObject([{ bytes: 6 }, { path: join(target, "queue.db") }]);
    await expect(backup.run(target)).rejects.toMatchObject({ code: "request.invalid" });
  });

  it("two backups into one directory both said ok and left a part: the second one is refused", async () => {
    let finish: () => void = () => {};
    let waiting = false;
    const good = copy;
    copy = async (path) => {
      if (!waiting)
        await new Promise<void>((resolve) => {
          finish = resolve;
          waiting = true;
        });
      return good(path);
    };
    const target = join(folder, "copy");
    const first = backup.run(target);
    await expect(backup.run(target)).rejects.toMatchObject({ code: "backup.running" });
    await expect(backup.run(join(folder, "other"))).rejects.toMatchObject({ detail: target });
    await until("the copy of the queue", () => waiting);
    expect(existsSync(join(target, "queue.db"))).toBe(false); // it gets its name when both are complete
    finish();
    await first;
    expect(readdirSync(target).sort()).toEqual(["archive.db", "queue.db"]);
  });

  it("a backup went on while the daemon stopped: it is given up, nothing stays", async () => {
    let waiting = false;
    copy = (_, signal) =>
      new Promise((_resolve, reject) => {
        waiting = true;
        signal?.addEventListener("abort", () => reject(signal.reason as Error));
      });
    const target = join(folder, "copy");
    const failed = expect(backup.run(target)).rejects.toMatchObject({ code: "daemon.stopping" });
    await until("the copy", () => waiting);
    stop.abort(new MailreportError("daemon.stopping"));
    await backup.ended();
    await failed;
    expect(existsSync(target)).toBe(false);
  });

  it("a failed backup removed files of others, and left its own directory", async () => {
    copy = () => Promise.reject(new MailreportError("store.full", { detail: "archive: disk is full" }));
    const used = join(folder, "used");
    mkdirSync(used);
    writeFileSync(join(used, "note"), "of somebody else");
    await expect(backup.run(used)).rejects.toMatchObject({ code: "store.full" });
    expect(readdirSync(used)).toEqual(["note"]);
    await expect(backup.run(join(folder, "a", "b"))).rejects.toMatchObject({ code: "store.full" });
    expect(existsSync(join(folder, "a"))).toBe(false);
    writeFileSync(join(used, "queue.db"), "an older copy");
    await expect(backup.run(used)).rejects.toMatchObject({ code: "request.invalid" });
    expect(readdirSync(used).sort()).toEqual(["note", "queue.db"]);
  });

  it("a daemon killed in a backup left unfinished copies that refused the next one: it removes them", async () => {
    const target = join(folder, "copy");
    mkdirSync(target);
    for (const name of ["archive.db.new", "archive.db.new-journal", "queue.db.new", "archive.db.newer"])
      writeFileSync(join(target, name), "unfinished");
    copy = async (path) => {
      expect(existsSync(path) || existsSync(`${path}-journal`)).toBe(false);
      writeFileSync(path, "a copy");
      return { bytes: 6 };
    };
    await backup.run(target);
    expect(readdirSync(target).sort()).toEqual(["archive.db", "archive.db.newer", "queue.db"]);
  });

  it.each([
    ["a directory", (path: string) => mkdirSync(path)],
    ["a link", (path: string) => symlinkSync("/etc/hosts", path)],
  ])(
    "%s with the name of an unfinished copy is of somebody else: it is refused and stays",
    async (_, make) => {
      const target = join(folder, "copy");
      mkdirSync(target);
      make(join(target, "queue.db.new"));
      await expect(backup.run(target)).rejects.toMatchObject({ code: "request.invalid" });
      expect(readdirSync(target)).toEqual(["queue.db.new"]);
    },
  );

  it.each(["file", "file/below"])(
    "a backup to a file (%s) was an error of the store with a log line: the request is wrong",
    async (name) => {
      const file = join(folder, "file");
      writeFileSync(file, "");
      const detail = `not a directory: ${file}`;
      await expect(backup.run(join(folder, name))).rejects.toMatchObject({ code: "request.invalid", detail });
      expect(log.of("unit.failed")).toEqual([]);
    },
  );

  it.each([
    ["of the archive", new MailreportError("store.full", { detail: "archive: full" }), "store.full"],
    [
      "of a system call",
      Object.assign(new Error("ENOSPC"), { code: "ENOSPC", syscall: "mkdir" }),
      "store.full",
    ],
    [
      "of a directory",
      Object.assign(new Error("ENOTDIR"), { code: "ENOTDIR", syscall: "mkdir" }),
      "store.io",
    ],
    ["of SQLite", Object.assign(new Error("full"), { code: "SQLITE_FULL" }), "store.full"],
    [
      "of access",
      Object.assign(new Error("EACCES"), { code: "EACCES", syscall: "mkdir" }),
      "daemon.no_permission",
    ],
  ])("an error %s did not say where the backup was to be: it names the path", async (_, error, code) => {
    copy = () => Promise.reject(error);
    const target = join(folder, "copy");
    await expect(backup.run(target)).rejects.toMatchObject({
      code,
      detail: expect.stringContaining(`backup to ${target}: `),
    });
  });
});
