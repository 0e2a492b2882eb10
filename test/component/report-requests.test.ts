/** What operators ask about outgoing reports: nothing is destroyed unless asked, and what was dropped comes back. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { zoneResolver } from "../../src/dns/zone.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { DAY, POLICY, sessions } from "../support/events.ts";
import { HOUR, ReportRun } from "../support/report-run.ts";

let run: ReportRun;
beforeEach(() => {
  run = new ReportRun();
});
afterEach(() => run.end());

const requests = () => run.requests;
const now = () => epochSeconds(run.clock);

describe("report send of a report that cannot be sent closed its period and dropped it", () => {
  const reasons: readonly (readonly [string, string, () => void, RegExp])[] = [
    ["without addresses", "silent.example", () => {}, /no-rua/],
    ["with DNS away", "broken.example", () => {}, /DNS did not answer/],
    ["without a key", "one.example", () => run.reconfigure({}, []), /unsigned/],
    [
      "to a suppressed address",
      "one.example",
      () =>
        run.store.suppress({
          target: "r@one.example",
          until: null,
          reason: "550",
          author: "operator",
          createdAt: DAY,
          step: 1,
        }),
      /suppressed/,
    ],
    [
      "about our own domain",
      "one.example",
      () => run.reconfigure({ receive: { domains: ["one.example"] } }),
      /local/,
    ],
  ];

  it.each(reasons)("%s it stays open as it was, and the reason is told", async (_, domain, prepare, why) => {
    run.feed(run.about(domain, { count: 3 }));
    prepare();
    const before = run.content();
    expect(await requests().send(`d!${domain}`)).toMatchObject({
      sent: false,
      why: expect.stringMatching(why),
    });
    expect(run.content()).toBe(before);
    expect(run.of(domain)).toMatchObject({ state: "open", end: DAY + 86_399, closed: false });
    run.feed(run.about(domain));
    expect(run.of(domain).messages).toBe(4);
  });

  it("by an error of ours the failure was not noted: it is, and the report is not promised to be sent", async () => {
    run.feed(run.about("one.example"));
    const { due } = run.of("one.example");
    run.beforeComposing = () => {
      throw new TypeError("bug");
    };
    await expect(requests().send("d!one.example")).rejects.toThrow("bug");
    expect(run.of("one.example")).toMatchObject({
      due,
      failures: 1,
      lastError: expect.stringMatching(/bug$/),
    });
    const { checks, verdict } = await requests().explain("d!one.example");
    expect(checks.at(-1)).toMatchObject({ check: "composing", ok: false });
    expect(verdict).toMatch(/^cannot be composed; tried again at .*, then sent to mailto:r@one.example$/);
  });

  it("a full disk, which says nothing about the report, is not noted with it", async () => {
    run.feed(run.about("one.example"));
    run.faults.compose = () => {
      throw new MailreportError("store.full");
    };
    await expect(requests().send("d!one.example")).rejects.toMatchObject({ code: "store.full" });
    expect(run.of("one.example")).toMatchObject({ failures: 0, lastError: null, closed: false });
  });

  it("after it was due, the next try of the schedule waits as after a failure of its own", async () => {
    run.feed(run.about("one.example"));
    run.clock.jump(30 * HOUR);
    run.beforeComposing = () => {
      throw new TypeError("bug");
    };
    await expect(requests().send("d!one.example")).rejects.toThrow("bug");
    expect(run.of("one.example")).toMatchObject({ due: now() + 900, failures: 1 });
  });

  it("by an error of ours it is opened again, with what was counted meanwhile", async () => {
    run.feed(run.about("one.example", { count: 3 }));
    const before = run.of("one.example");
    run.beforeComposing = () => {
      run.clock.jump(5000);
      run.feed(
        run.about("one.example", { count: 4 }),
        run.about("one.example", { row: { sourceIp: "192.0.2.99" } }),
      );
      throw new TypeError("bug");
    };
    await expect(requests().send("d!one.example")).rejects.toThrow("bug");
    expect(run.of("one.example")).toEqual({
      ...before,
      messages: 8,
      reportable: 8,
      wanted: 8,
      rows: 2,
      failures: 1,
      lastError: "an unexpected error; this is a bug: bug",
    });
    expect(run.tallied()).toEqual({ rows: 2, count: 8 });
    expect(run.store.stats()).toMatchObject({
      "outgoing.open": 1,
      "outgoing.tally": 2,
      "outgoing.message": 8,
    });
    run.beforeComposing = () => {};
    await run.pass(48);
    expect(run.countIn(run.of("one.example").messageIds[0]!)).toBe(8);
  });
});

describe("dry runs acted", () => {
  it("they change nothing, and tell what would be", async () => {
    run.feed(run.about("one.example", { count: 3 }), run.about("two.example"), run.about("silent.example"));
    requests().cancel("d!two.example");
    run.feed(run.about("two.example"));
    const dropped = run.reports().find((each) => each.state === "dropped")!;
    const before = run.content();
    expect(await requests().planSend("d!one.example")).toEqual({
      id: run.of("one.example").id,
      end: now(),
      to: ["mailto:r@one.example"],
    });
    expect(await requests().planSend("d!silent.example")).toMatchObject({ sent: false });
    expect(requests().planCancel("d!one.example")).toMatchObject({ messages: 3 });
    expect(requests().planHold("d!one.example", true)).toMatchObject({ changed: true });
    expect(requests().planHold("d!one.example", false)).toMatchObject({ changed: false });
    expect(requests().planSchedule("d!one.example")).toMatchObject({ changed: true });
    expect(requests().planUndelete(dropped.id)).toMatchObject({
      report: { state: "open", end: DAY + 86_399 },
      merged: expect.stringContaining("d!two.example!"),
    });
    expect(run.content()).toBe(before);
    expect(() => requests().planUndelete(run.of("one.example").id)).toThrow(/was not dropped/);
  });
});

describe("a cancelled report was destroyed", () => {
  it("undelete brings it back as if it had never been cancelled", () => {
    run.feed(
      run.about("one.example", { count: 3 }),
      run.about("one.example", { row: { sourceIp: "192.0.2.1" } }),
    );
    const before = { report: run.of("one.example"), stats: run.store.stats() };
    requests().cancel("d!one.example");
    expect(run.of("one.example")).toMatchObject({ state: "dropped", end: now(), restorable: true });
    expect(run.store.stats()).toMatchObject({ "outgoing.tally": 0, "outgoing.tally.dropped": 2 });
    run.clock.jump(60_000);
    const { report, merged } = requests().undelete("d!one.example");
    expect(merged).toBeNull();
    expect(report).toEqual(before.report);
    expect(run.store.stats()).toMatchObject({ ...before.stats, "outgoing.dropped.cancelled": 0 });
    run.feed(run.about("one.example"));
    expect(run.of("one.example").messages).toBe(5);
  });

  it("a report that was opened meanwhile becomes a part of it; no count is lost or doubled", async () => {
    const other = { row: { sourceIp: "192.0.2.77" } };
    run.feed(run.about("one.example", { count: 3 }), run.about("one.example", { ...other, count: 10 }));
    requests().cancel("d!one.example");
    run.clock.jump(60_000);
    run.feed(
      run.about("one.example", { count: 4, optional: true }),
      run.about("one.example", { row: { sourceIp: "192.0.2.78" } }),
    );
    const [dropped, opened] = run.reports();
    const { report, merged } = requests().undelete(dropped!.id);
    expect(merged).toBe(opened!.id);
    expect(report).toMatchObject({ state: "open", end: DAY + 86_399, rows: 3, messages: 18, reportable: 14 });
    expect(run.reports()).toHaveLength(1);
    expect(run.tallied()).toEqual({ rows: 3, count: 18 });
    expect(run.store.stats()).toMatchObject({
      "outgoing.open": 1,
      "outgoing.dropped": 0,
      "outgoing.tally": 3,
      "outgoing.tally.dropped": 0,
      "outgoing.message": 18,
      "outgoing.message.dropped": 0,
    });
    run.feed(run.about("one.example"));
    await run.pass(48);
    expect(run.countIn(run.of("one.example").messageIds[0]!)).toBe(19);
  });

  it("sessions and their failure details are merged, too", () => {
    const tls = () => sessions({ time: now(), domain: "one.example" });
    run.feed(tls());
    requests().cancel("t!one.example");
    run.clock.jump(60_000);
    run.feed(tls(), tls());
    const [dropped] = run.reports();
    const { report } = requests().undelete(dropped!.id);
    expect(report).toMatchObject({ rows: 2, messages: 9 });
    expect(run.store.tallies(report.id)).toMatchObject([{ success: 6, failure: 3, details: [{ count: 3 }] }]);
    expect(run.store.stats()).toMatchObject({ "outgoing.tally": 2, "outgoing.open": 1 });
  });

  it("when the rest of the period is held, what comes back is held", () => {
    run.feed(run.about("one.example"));
    requests().cancel("d!one.example");
    run.clock.jump(60_000);
    run.feed(run.about("one.example"));
    const [dropped, opened] = run.reports();
    requests().hold(opened!.id, true);
    expect(requests().undelete(dropped!.id).report).toMatchObject({ state: "held", messages: 2 });
    expect(run.store.stats()).toMatchObject({ "outgoing.held": 1, "outgoing.open": 0 });
  });

  it.each(["composed", "dropped"] as const)(
    "when the rest of the period is %s, it ends where it was cut",
    async (state) => {
      run.feed(run.about("one.example", { count: 2 }));
      requests().cancel("d!one.example");
      const cut = now();
      run.clock.jump(60_000);
      run.feed(run.about("one.example", { count: 5 }));
      const [dropped, opened] = run.reports();
      if (state === "composed") await requests().send(opened!.id);
      else requests().cancel(opened!.id);
      const { report, merged } = requests().undelete(dropped!.id);
      expect(merged).toBeNull();
      expect(report).toMatchObject({ state: "open", begin: DAY, end: cut, messages: 2, closed: true });
      run.clock.jump(60_000);
      run.feed(run.about("one.example", { count: 7 }));
      await run.pass(50);
      const composed = run.reports().filter((each) => each.state === "composed");
      const sums = composed.map((each) => run.countIn(each.messageIds[0]!));
      expect(sums).toEqual(state === "composed" ? [2, 5, 7] : [2, 7]);
      const periods = composed.map(({ begin, end }) => [begin, end] as const);
      for (const [i, [begin]] of periods.slice(1).entries()) expect(begin).toBeGreaterThan(periods[i]![1]);
    },
  );

  it("it can be brought back for report.keep_dropped and not longer, and the counters are true then", async () => {
    run.feed(run.about("one.example"), run.about("two.example"));
    requests().cancel("d!one.example");
    await run.pass(23);
    expect(run.of("one.example").restorable).toBe(true);
    expect((await requests().explain("d!one.example")).verdict).toMatch(
      /report undelete brings it back until/,
    );
    await run.pass(2);
    expect(run.of("one.example").restorable).toBe(false);
    expect(() => requests().undelete("d!one.example")).toThrow(/are not kept any more/);
    expect(run.store.stats()).toMatchObject({ "outgoing.tally.dropped": 0, "outgoing.dropped": 1 });
    await run.pass(5);
    expect(run.tallied()).toEqual({ rows: 0, count: 0 });
  });

  it("while its tallies are being deleted it cannot be brought back half", () => {
    const rows = Array.from({ length: 600 }, (_, i) =>
      run.about("one.example", { row: { sourceIp: `198.51.${i >> 8}.${i & 255}` } }),
    );
    run.feed(...rows);
    requests().cancel("d!one.example");
    const id = run.of("one.example").id;
    while (run.tallied().rows === 600) run.store.purgeTallies(now(), 0, 100);
    expect(run.tallied().rows).toBeGreaterThan(0);
    expect(() => requests().undelete(id)).toThrow(/are not kept any more/);
    while (run.store.purgeTallies(now(), 0, 100) > 0);
    expect(run.tallied()).toEqual({ rows: 0, count: 0 });
  });

  it("so was one that a check dropped: it comes back, and is tried again in an hour", async () => {
    run.feed(run.about("broken.example", { rua: [] }));
    run.resolver = zoneResolver([]);
    await run.pass(27);
    expect(run.of("broken.example")).toMatchObject({ state: "dropped", dropReason: "no-rua" });
    const { report } = requests().undelete("d!broken.example");
    expect(report).toMatchObject({ state: "open", due: now() + 3600, messages: 1, dropReason: null });
    await run.pass(0.5);
    expect(run.of("broken.example").state).toBe("open");
    await run.pass(1);
    expect(run.of("broken.example").state).toBe("dropped");
  });

  it("a composed report and one that is gone are told apart", async () => {
    run.feed(run.about("one.example"));
    await requests().send("d!one.example");
    expect(() => requests().undelete("d!one.example")).toThrow(/was not dropped/);
    expect(() => requests().undelete("d!nobody.example")).toThrow(/no such outgoing report/);
  });
});

it("figures stay true over days of sending, cancelling, undeleting and restarts", async () => {
  const domains = ["one.example", "two.example", "silent.example"];
  // a small linear congruential generator: the same run each time
  let seed = 7;
  const next = (n: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * n);
  };
  const pick = <T>(list: readonly T[]): T | undefined => list[next(Math.max(1, list.length))];
  let told = 0;
  let undeleted = 0;
  for (let step = 0; step < 150; step++) {
    for (let i = next(5); i >= 0; i--) {
      const count = 1 + next(9);
      const policy = { ...POLICY, domain: domains[next(domains.length)]! };
      run.feed(run.about(policy.domain, { policy, count, row: { sourceIp: `192.0.2.${next(6)}` } }));
      told += count;
    }
    const open = run.reports().filter((each) => each.state === "open");
    if (next(4) === 0 && open.length > 0) requests().cancel(pick(open)!.id);
    const dropped = run.reports().filter((each) => each.restorable);
    if (next(3) === 0 && dropped.length > 0) {
      requests().undelete(pick(dropped)!.id);
      undeleted++;
    }
    if (next(12) === 0 && open.length > 0) {
      const one = run.store.outgoing(pick(open)!.id);
      if (one?.state === "open") await requests().send(one.id);
    }
    if (next(15) === 0) await run.restart();
    run.clock.jump(1000);
    if (next(2) === 0) await run.pass(1 + next(3));
    const reports = run.reports();
    const sum = (of: typeof reports): number => of.reduce((n, each) => n + each.messages, 0);
    expect(sum(reports)).toBe(told);
    const waiting = reports.filter((each) => each.state === "open" || each.state === "held");
    const kept = reports.filter((each) => each.restorable);
    const rows = (of: typeof reports): number => of.reduce((n, each) => n + each.rows, 0);
    expect(run.store.stats()).toMatchObject({
      "outgoing.open": waiting.length,
      "outgoing.tally": rows(waiting),
      "outgoing.tally.dropped": rows(kept),
      "outgoing.message": sum(waiting),
    });
  }
  await run.pass(24 * 5);
  expect(undeleted).toBeGreaterThan(10);
  const ended = run.reports();
  expect(ended.every((each) => each.state === "composed" || each.state === "dropped")).toBe(true);
  for (const { state, messages, messageIds } of ended) {
    if (state === "composed") expect(run.countIn(messageIds[0]!)).toBe(messages);
  }
  expect(run.tallied()).toEqual({ rows: 0, count: 0 });
});
