/** Which mails share a transaction of the ingest process, and who waits for whom. */
import { describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { Commits, type Entry } from "../../src/receive/ingest/commits.ts";
import type { Accepted, ArchiveIntake, NotStored, PutItem } from "../../src/store/archive/intake.ts";
import { isLarge } from "../../src/store/sqlite/archive/large-mails.ts";

/** A parse result with this number of records. */
const parsed = (mailId: number, records = 1): PutItem =>
  ({
    mailId,
    content: { items: [{ ok: true, content: { kind: "dmarc", records: { count: records } } }] },
  }) as unknown as PutItem;
const idOf = (item: PutItem): number => ("mailId" in item ? item.mailId : 0);
const stored = (item: PutItem): Accepted => ({ spooled: true, mailId: idOf(item) });
const turns = async (): Promise<void> => {
  for (let n = 0; n < 5; n++) await new Promise((resolve) => setImmediate(resolve));
};

/** An archive that answers when it is told to. */
function slowArchive() {
  const puts: {
    readonly ids: number[];
    readonly answer: () => void;
    readonly fail: (error: Error) => void;
  }[] = [];
  const archive = {
    put: (batch: readonly PutItem[]) =>
      new Promise<Accepted[]>((resolve, reject) => {
        puts.push({ ids: batch.map(idOf), answer: () => resolve(batch.map(stored)), fail: reject });
      }),
  } as unknown as ArchiveIntake;
  const arrivals: Entry[] = [];
  const commits = new Commits({
    archive,
    arrivals: () => arrivals.splice(0),
    onCommitted: async (_, done) => done(),
  });
  return { puts, arrivals, commits };
}

describe("commits", () => {
  it("what came during a commit shares the next one, new mail first", async () => {
    const { puts, arrivals, commits } = slowArchive();
    void commits.put([parsed(1)]);
    await turns();
    void commits.put([parsed(2)]);
    arrivals.push({ item: parsed(3), done: () => {} });
    commits.wake();
    await turns();
    expect(puts.map(({ ids }) => ids)).toEqual([[1]]);
    puts[0]!.answer();
    await turns();
    expect(puts.map(({ ids }) => ids)).toEqual([[1], [3, 2]]);
  });

  it("a mail of many records kept the others waiting: it is stored alone, and the others are stored beside it", async () => {
    const { puts, commits } = slowArchive();
    const large = commits.put([parsed(1, 100_000)]);
    await turns();
    const small = commits.put([parsed(2), parsed(3)]);
    await turns();
    expect(puts.map(({ ids }) => ids)).toEqual([[1], [2, 3]]);
    puts[1]!.answer();
    expect(await small).toEqual([stored(parsed(2)), stored(parsed(3))]);
    puts[0]!.answer();
    expect(await large).toEqual([stored(parsed(1))]);
  });

  it("a mail of many small reports counted as a small one: it is stored alone, and its rows in steps", async () => {
    const { puts, commits } = slowArchive();
    const [report] = (parsed(1) as unknown as { content: { items: unknown[] } }).content.items;
    const content = { items: Array.from({ length: 1000 }, () => report) } as never;
    void commits.put([{ mailId: 1, content }, parsed(2)]);
    await turns();
    expect(puts.map(({ ids }) => ids)).toEqual([[2]]);
    puts[0]!.answer();
    await turns();
    expect(puts.map(({ ids }) => ids)).toEqual([[2], [1]]);
    expect(isLarge(content)).toBe(true);
    expect(isLarge({ items: [report] } as never)).toBe(false);
  });

  it("a transaction is bounded by its mails and its records", async () => {
    const { puts, commits } = slowArchive();
    void commits.put(Array.from({ length: 100 }, (_, n) => parsed(n)));
    void commits.put([parsed(200, 5000), parsed(201, 5000)]);
    for (let n = 0; n < 3; n++) {
      await turns();
      puts[n]!.answer();
    }
    await turns();
    expect(puts.map(({ ids }) => ids.length)).toEqual([64, 37, 1]);
  });

  it("a failed transaction is the answer of its mails alone, and the next one follows", async () => {
    const { puts, commits } = slowArchive();
    const first = commits.put([parsed(1), parsed(2)]);
    await turns();
    const second = commits.put([parsed(3)]);
    puts[0]!.fail(new MailreportError("store.full", { detail: "archive" }));
    const full: NotStored = { error: { code: "store.full", detail: "archive" } };
    expect(await first).toEqual([full, full]);
    await turns();
    puts[1]!.answer();
    expect(await second).toEqual([stored(parsed(3))]);
    await commits.ended();
  });
});
