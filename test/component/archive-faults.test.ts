/**
 * Faults while mail is stored and parsed: a full disk, a lock, a bug. No acknowledged mail is set aside for them. Faults of
 * the store come from the database itself: triggers that fail, another process that holds the lock, a small disk.
 */
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeArchiveTransaction } from "../../src/store/sqlite/archive/transaction.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { ArchiveBox, mailWithXml, read } from "../support/archive-box.ts";
import type { Stage } from "../support/parsing-archive.ts";
import { dmarcXml, NOW } from "../support/reading.ts";
import { canMount, SmallDisk } from "../support/small-disk.ts";
import { until } from "../support/wait.ts";

/** A bug that stops the parser at the mail with this report. */
const failingAt =
  (id: string): Stage =>
  (raw, hints) => {
    const staged = read(raw, hints);
    if (staged.items.some((item) => item.ok && item.figures.reportId === id)) throw new Error("a bug");
    return staged;
  };

/** A value that the database does not take, in the report with this id: an error of ours, no fault of the store. */
const wrongValueAt =
  (id: string): Stage =>
  (raw, hints) => {
    const staged = read(raw, hints);
    const items = staged.items.map((item) =>
      item.ok && item.figures.reportId === id
        ? { ...item, figures: { ...item.figures, messages: 0.5 } }
        : item,
    );
    return { ...staged, items };
  };

/** A report with more records than are stored in one step; each has a source of its own. */
function largeXml(id: string, records = 5000): string {
  const [record] = /<record>.*<\/record>/.exec(dmarcXml())!;
  const rows = Array.from({ length: records }, (_, n) =>
    record.replace("192.0.2.1", `10.1.${n >> 8}.${n & 255}`),
  );
  return dmarcXml(id).replace(record, rows.join(""));
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

  /** From now on the database fails when it writes the report with this id, until the returned function is called. */
  const failingAtReport = (id: string): (() => void) => {
    box.sql((database) =>
      database.exec(`CREATE TRIGGER fault AFTER INSERT ON report WHEN new.report_id = '${id}'
        BEGIN SELECT json('injected'); END`),
    );
    return () => box.sql((database) => database.exec("DROP TRIGGER fault"));
  };

  it("a store error counted as an attempt, and after three of them acknowledged mail was set aside", async () => {
    await box.spool(mailWithXml(dmarcXml("a")));
    const repair = failingAtReport("a");
    for (let n = 0; n < 5; n++)
      await expect(box.writer.parseSpooled(read, 8)).rejects.toMatchObject({ code: "store.io" });
    repair();
    expect(tries()).toEqual([0]);
    expect(await box.writer.unparsed()).toBe(1);
    expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ outcome: "imported" }]);
  });

  it.skipIf(!canMount())(
    "a full disk on which even that cannot be noted: later attempts are not counted",
    async () => {
      const small = await onDisk();
      await box.spool(mailWithXml(largeXml("a", 3000)));
      for (let n = 0; n < 5; n++) {
        const filling: Stage = (raw, hints) => {
          small.fill();
          return read(raw, hints);
        };
        await expect(box.writer.parseSpooled(filling, 8)).rejects.toMatchObject({ code: "store.full" });
      }
      expect(tries()).toEqual([1]);
      small.free();
      await box.reopen(); // an end in order
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
    const looking: Stage = (raw, hints) => {
      expect(tries()).toEqual([1]); // what the next process finds
      return read(raw, hints);
    };
    expect(await box.writer.parseSpooled(looking, 8)).toMatchObject([{ outcome: "imported" }]);
  });

  it("a store error for one mail of a batch lost the answers of the others", async () => {
    // a wrong value of one mail makes each mail a transaction of its own; then the disk fails at another one
    const repair = failingAtReport("c");
    const answers = await box.writer.intake(
      three().map((intake) => ({ intake, parseNow: true })),
      wrongValueAt("b"),
    );
    repair();
    expect(answers).toMatchObject([
      { result: { outcome: "imported" } },
      { result: { outcome: "invalid", reason: "internal" } },
      { error: { code: "store.io" } },
    ]);
    expect(await box.counters()).toMatchObject({ "archive.mail": 2, "archive.outcome.imported": 1 });
  });

  it("the same for spooled mails: the one stays spooled, the others are parsed and told", async () => {
    await box.spool(...three());
    const repair = failingAtReport("c");
    const results = await box.writer.parseSpooled(wrongValueAt("b"), 8);
    expect(results.map(({ mailId, outcome }) => [mailId, outcome])).toEqual([
      [1, "imported"],
      [2, "invalid"],
    ]);
    repair();
    expect(await box.writer.writer.spool()).toEqual({ unparsed: 1, oldest: 3, newest: 3 });
    expect(tries()[2]).toBe(0);
    expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ mailId: 3, outcome: "imported" }]);
  });

  it("a bug in the parser keeps the mail as internal, with its stack, and a later version parses it again", async () => {
    await box.spool(mailWithXml(dmarcXml("a")));
    const [result] = await box.writer.parseSpooled(failingAt("a"), 8);
    expect(result).toMatchObject({
      outcome: "invalid",
      reason: "internal",
      stack: expect.stringContaining("a bug"),
    });
    expect(await box.reader.receivedMail("m1")).toMatchObject({ outcome: "invalid", raw_kept: true });
    expect(await box.writer.reparse([1], read)).toMatchObject([{ outcome: "imported", reportIds: [1] }]);
  });

  it("a store error in a reparse marked the mail: it is as it was before", async () => {
    await box.intake(...three());
    const before = [await box.counters(), (await box.reader.list("reports", {}, { limit: 9 })).items];
    const repair = failingAtReport("b");
    await expect(box.writer.reparse([2], read)).rejects.toMatchObject({ code: "store.io" });
    repair();
    const unlock = box.lock();
    await expect(box.writer.reparse([1], read)).rejects.toMatchObject({ code: "store.busy" });
    unlock();
    expect([await box.counters(), (await box.reader.list("reports", {}, { limit: 9 })).items]).toEqual(
      before,
    );
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

describe("a large mail under faults", () => {
  let box: ArchiveBox;
  beforeEach(() => {
    box = new ArchiveBox();
  });
  afterEach(() => box.remove());

  const count = (table: string): number =>
    box.sql((database) => Number(database.prepare(`SELECT count(*) FROM ${table}`).pluck().get()));
  /** Rows without a report are deleted beside other work. */
  const swept = () => until("staged rows to be deleted", () => count("staged_report") === 0);
  const fault = (table: string, when: string) =>
    box.sql((database) =>
      database.exec(`CREATE TRIGGER fault AFTER INSERT ON ${table} WHEN ${when}
        BEGIN SELECT json('injected'); END`),
    );
  const repair = () => box.sql((database) => database.exec("DROP TRIGGER fault"));
  const large = () => ({ intake: mailWithXml(largeXml("large")), parseNow: true });
  /** Has stored some of the records of the large mail, and not all. */
  const half = async (): Promise<void> => {
    while (count("record_block") === 0) await new Promise((resolve) => setImmediate(resolve));
  };

  it("kept small mails waiting until it was stored: they are stored and visible before it", async () => {
    let done = false;
    const storing = box.writer.intake([large()]).finally(() => {
      done = true;
    });
    await half();
    expect(await box.intake(mailWithXml(dmarcXml("small")))).toMatchObject([{ outcome: "imported" }]);
    expect(done).toBe(false);
    expect((await box.reader.list("reports", {}, { limit: 9 })).items.map((r) => r.report_id)).toEqual([
      "small",
    ]);
    expect([await box.records(), await box.messages()]).toEqual([1, 2]);
    expect(await storing).toMatchObject([{ result: { outcome: "imported", mailId: 2 } }]);
    expect([await box.records(), count("staged_report")]).toEqual([5001, 0]);
  });

  for (const [what, table, when] of [
    ["in the middle", "record_block", "new.id % 1048576 = 12"],
    ["in the last transaction", "mail", "1"],
  ] as const)
    it(`a store error ${what} is the answer for the mail, and nothing of it stays`, async () => {
      fault(table, when);
      expect(await box.writer.intake([large()])).toMatchObject([{ error: { code: "store.io" } }]);
      repair();
      await swept();
      expect([count("record_block"), count("mail"), await box.records()]).toEqual([0, 0, 0]);
      expect(await box.writer.intake([large()])).toMatchObject([{ result: { outcome: "imported" } }]);
      expect(await box.records()).toBe(5000);
    });

  it("a store error in the middle leaves a spooled mail spooled, and it is parsed later", async () => {
    await box.spool(mailWithXml(largeXml("large")));
    fault("record_block", "new.id % 1048576 = 12");
    await expect(box.writer.parseSpooled(read, 8)).rejects.toMatchObject({ code: "store.io" });
    repair();
    expect(await box.writer.writer.spool()).toEqual({ unparsed: 1, oldest: 1, newest: 1 });
    expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ outcome: "imported" }]);
    await swept();
    expect([await box.records(), count("record_block")]).toEqual([5000, 20]);
  });

  it("a bug in the last transaction keeps it raw, with its stack, and deletes its rows", async () => {
    const [answer] = await box.writer.intake([large()], wrongValueAt("large"));
    expect(answer).toMatchObject({ result: { outcome: "invalid", reason: "internal", mailId: 1 } });
    await swept();
    expect([count("record_block"), await box.records()]).toEqual([0, 0]);
    expect(await box.reader.receivedMail("m1")).toMatchObject({ raw_kept: true });
  });

  it("a roll-back of another mail gave its number to another report", async () => {
    const storing = box.writer.intake([large()]);
    await half();
    const [other] = await box.writer.intake(
      [{ intake: mailWithXml(dmarcXml("wrong")), parseNow: true }],
      wrongValueAt("wrong"),
    );
    expect(other).toMatchObject({ result: { outcome: "invalid" } });
    const [small] = await box.intake(mailWithXml(dmarcXml("small")));
    const [stored] = await storing;
    expect([small!.reportIds, stored]).toMatchObject([[2], { result: { reportIds: [1] } }]);
    expect((await box.reader.list("records", { report: "r2" }, { limit: 9 })).items).toHaveLength(1);
  });

  it("the archive was closed meanwhile: its answer says so, and its rows are deleted at the next open", async () => {
    await box.spool(mailWithXml(largeXml("large")));
    const parsing = box.writer.parseSpooled(read, 8);
    const failed = expect(parsing).rejects.toMatchObject({ code: "daemon.stopping" });
    await half();
    const closing = box.reopen();
    await failed;
    await closing;
    await swept();
    expect(count("record_block")).toBe(0);
    expect(await box.writer.parseSpooled(read, 8)).toMatchObject([{ outcome: "imported" }]);
  });

  it("what an ended process left is deleted after the next open, and its number is not given meanwhile", async () => {
    await box.writer.close();
    box.sql((database) => {
      const insert = database.prepare("INSERT INTO record_block (id, body) VALUES (?, ?)");
      for (let n = 0; n < 1000; n++) insert.run(7 * 2 ** 20 + n, Buffer.from([1, 1, 1, 1]));
      database.exec("INSERT INTO staged_report VALUES (7)");
    });
    await box.reopen();
    expect(await box.intake(mailWithXml(dmarcXml("a")))).toMatchObject([{ reportIds: [8] }]);
    await swept();
    expect([count("record_block"), await box.records()]).toEqual([1, 1]);
  });

  it("rows that cannot be deleted now are deleted later, and mail is stored meanwhile", async () => {
    fault("record_block", "new.id % 1048576 = 12");
    box.sql((database) =>
      database.exec(`CREATE TRIGGER keep BEFORE DELETE ON record_block
        BEGIN SELECT json('injected'); END`),
    );
    expect(await box.writer.intake([large()])).toMatchObject([{ error: { code: "store.io" } }]);
    repair();
    expect(await box.intake(mailWithXml(dmarcXml("a")))).toMatchObject([{ outcome: "imported" }]);
    expect(count("staged_report")).toBe(1);
    box.sql((database) => database.exec("DROP TRIGGER keep"));
    await box.intake(mailWithXml(dmarcXml("b")));
    await swept();
    expect(count("record_block")).toBe(2);
  });
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
