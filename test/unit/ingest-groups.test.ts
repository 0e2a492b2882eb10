/** Which mails make up a transaction of the ingest process, and which of them are read in it. */
import { describe, expect, it } from "vitest";
import type { Frame } from "../../src/receive/ingest/frames.ts";
import { groupOf, headsOf, MAX_UNPARSED, type Pace, takeGroup } from "../../src/receive/ingest/groups.ts";
import type { IntakeHead, ParseWhen } from "../../src/receive/ingest/protocol.ts";

const frame = (size: number, ...whens: ParseWhen[]): Frame => ({
  header: { op: "intake", heads: whens.map((when) => ({ when, size, source: "smtp" }) as IntakeHead) },
  body: Buffer.alloc(size * whens.length),
});
const mails = (n: number, when: ParseWhen = "soon"): ParseWhen[] => Array(n).fill(when);
const sizes = (frames: readonly Frame[]): number[] => frames.map((one) => headsOf(one).length);
const PACE: Pace = { unparsed: 0, inBurst: false };
const read = (frames: readonly Frame[], pace: Partial<Pace> = {}): string =>
  groupOf(frames, { ...PACE, ...pace })
    .requests.map(({ parseNow }) => (parseNow ? "r" : "s"))
    .join("");
const overloaded = (frames: readonly Frame[], pace: Partial<Pace> = {}): boolean =>
  groupOf(frames, { ...PACE, ...pace }).overloaded;

describe("a transaction", () => {
  it("takes what waits, up to 64 mails or 4 MiB, but at least one request", () => {
    const queue = [frame(10, ...mails(8)), frame(10, ...mails(50)), frame(10, ...mails(8))];
    expect([sizes(takeGroup(queue)), sizes(queue)]).toEqual([[8, 50], [8]]);
    const large = [frame(5 << 20, "later"), frame(10, "soon")];
    expect([sizes(takeGroup(large)), sizes(large)]).toEqual([[1], [1]]);
  });

  it("ends before a request that is none for mail", () => {
    const other: Frame = { header: { op: "configure" }, body: Buffer.alloc(0) };
    const queue = [frame(10, "soon"), other, frame(10, "soon")];
    expect(sizes(takeGroup(queue))).toEqual([1]);
    expect(queue[0]).toBe(other);
  });
});

describe("reading in a transaction", () => {
  it("is for all when they are few", () => {
    const frames = [frame(1, ...mails(2)), frame(1, ...mails(2))];
    expect(read(frames)).toBe("rrrr");
    expect(overloaded(frames)).toBe(false);
  });

  it("is for none of a crowd, but those who must know", () => {
    const frames = [frame(1, ...mails(3), "now"), frame(1, "later", ...mails(2))];
    expect(read(frames)).toBe("sssrsss");
    expect(overloaded(frames)).toBe(true);
    expect(overloaded([frame(1, ...mails(40, "now"))])).toBe(false);
    expect(overloaded([frame(1, ...mails(40, "later"))])).toBe(false);
  });

  it("is for none while a crowd is not gone; a few of them are no crowd themselves", () => {
    const frames = [frame(1, "soon", "now", "soon")];
    expect(read(frames, { inBurst: true })).toBe("srs");
    expect(overloaded(frames, { inBurst: true })).toBe(false);
    expect(read(frames, { unparsed: MAX_UNPARSED, inBurst: true })).toBe("rrr");
  });

  it("is for all again when too many are unparsed", () => {
    expect(read([frame(1, ...mails(6), "later")], { unparsed: MAX_UNPARSED })).toBe("rrrrrrs");
  });

  it("hands each mail its own bytes", () => {
    const bytes = { ...frame(2, "soon", "later"), body: Buffer.from("abcd") };
    expect(groupOf([bytes], PACE).requests.map(({ intake }) => Buffer.from(intake.raw).toString())).toEqual([
      "ab",
      "cd",
    ]);
  });
});
