/** Faults while mail is stored and parsed: a full disk, a lock, a bug. No acknowledged mail is set aside for them. */
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { makeArchiveTransaction } from "../../src/store/sqlite/archive/transaction.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { ArchiveBox, mailWithXml, read } from "../support/archive-box.ts";
import type { Stage } from "../support/parsing-archive.ts";
import { dmarcXml, NOW } from "../support/reading.ts";
import { canMount, SmallDisk } from "../support/small-disk.ts";

const full = () => new MailreportError("store.full", { detail: "archive: database or disk is full" });

/** A parser that fails at the mail with this report, each time with the next of these errors. */
function failingAt(id: string, ...errors: readonly Error[]): Stage {
  const left = [...errors];
  return (raw, hints) => {
    const reading = read(raw, hints);
    const isIt = reading.items.some((item) => item.ok && item.figures.reportId === id);
    const error = isIt ? left.shift() : undefined;
    if (error) throw error;
    return reading;
  };
}

describe("the archive under faults", () => {
  let box: ArchiveBox;
  let disk: SmallDisk | undefined;
  beforeEach(() => {
    box = new ArchiveBox();
  });
  afterEach(async () => {
    await box.remove();
    disk?.remove();
    disk = undefined;
  });

  const tries = () => {
    const database = openDatabase(box.path, { readonly: true });
    try {
      return database.prepare("SELECT tries FROM mail ORDER BY id").pluck().all();
    } finally {
      database.close();
    }
  };
  const three = () => ["a", "b", "c"].map((id) => mailWithXml(dmarcXml(id)));
  const onDisk = async (): Promise<SmallDisk> => {
    await box.remove();
    disk = new SmallDisk("4m");
    box = new ArchiveBox(disk.path);
    return disk;
  };

  it("a full disk counted as an attempt, and after three of them acknowledged mail was set aside", async () => {
    await box.spool(mailWithXml(dmarcXml("a")));
    for (let n = 0; n < 5; n++)
      await expect(box.writer.parseSpooled(failingAt("a", full()), 8)).rejects.toMatchObject({
        code: "store.full",
      });
    expect(tries()).toEqual([0]);
    expect(await box.writer.unparsed()).toBe(1);
    expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ outcome: "imported" }]);
  });

  it.skipIf(!canMount())(
    "a full disk on which even that cannot be noted: later attempts are not counted",
    async () => {
      const small = await onDisk();
      await box.spool(mailWithXml(dmarcXml("a")));
      for (let n = 0; n < 5; n++) {
        const filling: Stage = () => {
          small.fill();
          throw full();
        };
        await expect(box.writer.parseSpooled(filling, 8)).rejects.toMatchObject({ code: "store.full" });
      }
      expect(tries()).toEqual([1]);
      small.free();
      box.reopen(); // an end in order
      expect(tries()).toEqual([0]);
      expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ outcome: "imported" }]);
    },
  );

  it("a lock counted as an attempt: the mail stays spooled and is parsed behind it", async () => {
    await box.spool(...three());
    const unlock = box.lock();
    for (let n = 0; n < 4; n++)
      await expect(box.writer.parseSpooled(read, 8)).rejects.toMatchObject({ code: "store.busy" });
    unlock();
    expect(tries()).toEqual([0, 0, 0]);
    expect((await box.writer.parseSpooled(read, 8)).map(({ outcome }) => outcome)).toEqual(
      Array(3).fill("imported"),
    );
  });

  it("a process that died while it parsed is still counted", async () => {
    await box.spool(mailWithXml(dmarcXml("a")));
    const dying: Stage = () => {
      expect(tries()).toEqual([1]); // what the next process finds
      throw full();
    };
    await expect(box.writer.parseSpooled(dying, 8)).rejects.toThrow();
  });

  it("a store error for one mail of a batch lost the answers of the others", async () => {
    const answers = await box.writer.intake(
      three().map((intake) => ({ intake, parseNow: true })),
      failingAt("b", new Error("a bug"), full()),
    );
    expect(answers).toMatchObject([
      { result: { mailId: 1, outcome: "imported" } },
      { error: { code: "store.full" } },
      { result: { mailId: 2, outcome: "imported" } },
    ]);
    expect(await box.counters()).toMatchObject({ "archive.mail": 2, "archive.outcome.imported": 2 });
  });

  it("the same for spooled mails: the one stays spooled, the others are parsed and told", async () => {
    await box.spool(...three());
    const results = await box.writer.parseSpooled(failingAt("b", new Error("a bug"), full()), 8);
    expect(results.map(({ mailId, outcome }) => [mailId, outcome])).toEqual([
      [1, "imported"],
      [3, "imported"],
    ]);
    expect(await box.writer.writer.spool()).toEqual({ unparsed: 1, oldest: 2, newest: 2 });
    expect(tries()[1]).toBe(0);
    expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ mailId: 2, outcome: "imported" }]);
  });

  it("a bug in the parser keeps the mail as internal, with its stack, and a later version parses it again", async () => {
    await box.spool(mailWithXml(dmarcXml("a")));
    const [result] = await box.writer.parseSpooled(failingAt("a", new Error("a bug"), new Error("a bug")), 8);
    expect(result).toMatchObject({
      outcome: "invalid",
      reason: "internal",
      stack: expect.stringContaining("a bug"),
    });
    expect(await box.reader.receivedMail("m1")).toMatchObject({ outcome: "invalid", rawKept: true });
    expect(await box.writer.reparse([1], read)).toMatchObject([{ outcome: "imported", reportIds: [1] }]);
  });

  it("a store error in a reparse marked the mail: it is as it was before", async () => {
    await box.intake(...three());
    const before = [await box.counters(), (await box.reader.reports({}, { limit: 9 })).items];
    await expect(box.writer.reparse([2], failingAt("b", full()))).rejects.toMatchObject({
      code: "store.full",
    });
    const unlock = box.lock();
    await expect(box.writer.reparse([1], read)).rejects.toMatchObject({ code: "store.busy" });
    unlock();
    expect([await box.counters(), (await box.reader.reports({}, { limit: 9 })).items]).toEqual(before);
    expect(await box.reader.receivedMail("m2")).toMatchObject({ outcome: "imported", reason: null });
  });

  it.skipIf(!canMount())(
    "a full disk while mail is stored and deleted: nothing is half done, all goes on with space",
    async () => {
      const small = await onDisk();
      await box.intake(...three());
      const before = await box.counters();
      small.fill();
      const much = Array.from({ length: 64 }, (_, n) => mailWithXml(dmarcXml(`m${n}`)));
      await expect(box.intake(...much)).rejects.toMatchObject({ code: "store.full", temporary: true });
      await expect(box.spool(...much)).rejects.toMatchObject({ code: "store.full" });
      expect(await box.counters()).toEqual(before);
      small.free();
      expect(new Set((await box.intake(...much)).map(({ outcome }) => outcome))).toEqual(
        new Set(["imported"]),
      );
      const short = { raw: 1, failedRaw: 1, records: 1, feedback: 1, mails: 1, sums: 4000 * 86_400 };
      await box.expire(NOW + 1000 * 86_400, short);
      expect([await box.records(), await box.messages()]).toEqual([0, 134]);
    },
  );
});

describe("a transaction", () => {
  it("an error that followed a roll-back by SQLite looked like a bug of the mail", () => {
    const database = new Database(":memory:");
    const undone: string[] = [];
    const transaction = makeArchiveTransaction(database, {
      flush() {},
      undo: () => undone.push("undone"),
    });
    const after = () => {
      database.exec("ROLLBACK"); // as a full disk does
      throw new TypeError("what follows");
    };
    expect(() => transaction.run(after)).toThrow(
      expect.objectContaining({ code: "store.io", temporary: true }),
    );
    // one that was swallowed shows at the commit
    expect(() => transaction.run(() => database.exec("ROLLBACK"))).toThrow(
      expect.objectContaining({ code: "store.io" }),
    );
    const bug = () => {
      throw new TypeError("a bug");
    };
    expect(() => transaction.run(bug)).toThrow(TypeError);
    expect(undone).toHaveLength(3);
    expect(transaction.run(() => 1)).toBe(1);
    database.close();
  });
});
