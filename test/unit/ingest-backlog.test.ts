/** Waiting until what was stored is read. */
import { describe, expect, it } from "vitest";
import { Backlog } from "../../src/receive/ingest/backlog.ts";
import { FakeClock } from "../support/fake-clock.ts";

describe("the backlog", () => {
  const waiting = (backlog: Backlog, limitMs = 1000) => {
    const state = { done: false };
    void backlog.allParsed(limitMs).then(() => {
      state.done = true;
    });
    return state;
  };
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

  it("lets who waits go when all that was unparsed then is read, though more has come since", async () => {
    const backlog = new Backlog(new FakeClock());
    backlog.begin(2);
    backlog.stored();
    const first = waiting(backlog);
    backlog.stored();
    const second = waiting(backlog);
    backlog.read(2);
    await turn();
    expect([backlog.size, first.done, second.done]).toEqual([2, false, false]);
    backlog.read(1);
    await turn();
    expect([first.done, second.done]).toEqual([true, false]);
    backlog.read(1);
    await turn();
    expect([backlog.size, second.done]).toEqual([0, true]);
  });

  it("lets nobody wait longer than asked, nor for mails that a process took with it", async () => {
    const clock = new FakeClock();
    const backlog = new Backlog(clock);
    backlog.begin(5);
    const impatient = waiting(backlog, 100);
    const patient = waiting(backlog, 60_000);
    await clock.advance(100);
    expect([impatient.done, patient.done]).toEqual([true, false]);
    backlog.begin(1); // four were read by a process that died before it told so
    backlog.read(1);
    await turn();
    expect(patient.done).toBe(true);
  });
});
