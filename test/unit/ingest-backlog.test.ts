/** Waiting until spooled mail is parsed. */
import { describe, expect, it } from "vitest";
import { Backlog } from "../../src/receive/ingest/backlog.ts";
import type { IntakeResult, SpoolState } from "../../src/store/archive/intake.ts";
import { FakeClock } from "../support/fake-clock.ts";

/** A spool with these mails. */
const spool = (...mails: number[]): SpoolState => ({
  unparsed: mails.length,
  oldest: mails[0] ?? null,
  newest: mails.at(-1) ?? null,
});
const parsed = (...mails: number[]): IntakeResult[] =>
  mails.map((mailId) => ({
    mailId,
    outcome: "imported",
    reason: null,
    detail: null,
    items: [],
    reportIds: [],
    dsns: [],
    envelopeTo: [],
  }));

describe("the backlog", () => {
  const waiting = (backlog: Backlog, limitMs = 1000) => {
    const state: { left: number | undefined } = { left: undefined };
    void backlog.allParsed(limitMs).then((left) => {
      state.left = left;
    });
    return state;
  };
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

  it("resolves a wait when all mail that was unparsed at its begin is parsed, though more has come since", async () => {
    const backlog = new Backlog(new FakeClock());
    backlog.update(spool(1, 2, 3));
    const first = waiting(backlog);
    backlog.update(spool(1, 2, 3, 4));
    const second = waiting(backlog);
    backlog.parsed(parsed(1, 2));
    backlog.update(spool(3, 4));
    await turn();
    expect([backlog.size, first.left, second.left]).toEqual([2, undefined, undefined]);
    backlog.parsed(parsed(3));
    backlog.update(spool(4));
    await turn();
    expect([first.left, second.left]).toEqual([0, undefined]);
    backlog.parsed(parsed(4));
    backlog.update(spool());
    await turn();
    expect([backlog.size, second.left]).toEqual([0, 0]);
  });

  it("tells a wait that ends by its limit how many of its mails are left, later ones not counted", async () => {
    const clock = new FakeClock();
    const backlog = new Backlog(clock);
    backlog.update(spool(1, 2, 3, 4, 5));
    const short = waiting(backlog, 100);
    const long = waiting(backlog, 60_000);
    backlog.parsed(parsed(1, 2));
    backlog.update(spool(3, 4, 5, 6, 7, 8));
    await clock.advance(100);
    expect([short.left, long.left]).toEqual([3, undefined]);
    // the process died after it had parsed some and before it told so
    backlog.update(spool(6, 7, 8));
    await turn();
    expect(long.left).toBe(0);
    expect(clock.pendingTimers).toBe(0);
  });

  it("mails parsed by hand, before it is their turn, left the count too high: the archive's own count holds", async () => {
    const backlog = new Backlog(new FakeClock());
    backlog.update(spool(1, 2));
    const wait = waiting(backlog);
    backlog.update(spool()); // what a reparse answers
    await turn();
    expect([backlog.size, wait.left]).toEqual([0, 0]);
    expect(await backlog.allParsed(1000)).toBe(0);
  });

  it("ends all waits when mail is not parsed at present", async () => {
    const clock = new FakeClock();
    const backlog = new Backlog(clock);
    backlog.update(spool(1, 2));
    const wait = waiting(backlog, Number.POSITIVE_INFINITY);
    backlog.giveUp();
    await turn();
    expect([wait.left, clock.pendingTimers]).toEqual([2, 0]);
  });
});
