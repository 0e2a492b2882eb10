/** The reader threads of the archive, as built, over a real archive: who waits for whom, deadlines, threads that end. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ArchiveFilter, ArchiveQuestions, ArchiveReader } from "../../src/store/archive/reader.ts";
import { startArchiveReader } from "../../src/store/sqlite/archive/reader-client.ts";
import {
  DEADLINE_MS,
  MOST_REPLACED,
  MOST_WAITING,
  PATIENCE_MS,
  type ReaderPoolOptions,
} from "../../src/store/sqlite/archive/reader-pool.ts";
import { ALL, ArchiveBox, mailWithXml } from "../support/archive-box.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { dmarcXml } from "../support/reading.ts";
import { READER_PROGRAM, STANDING_PROGRAM, Standing } from "../support/standing.ts";
import { until } from "../support/wait.ts";

const days = async (of: ArchiveReader, filter: ArchiveFilter = {}) =>
  (await of.list("days", filter, ALL)).items;

describe("reader threads of the archive", () => {
  let box: ArchiveBox;
  let clock: FakeClock;
  let archive: ArchiveQuestions;
  let problems: unknown[];
  let gates: Standing[];

  beforeEach(async () => {
    box = new ArchiveBox();
    await box.intake(mailWithXml(dmarcXml("a")));
    clock = new FakeClock();
    problems = [];
    gates = [];
  });
  afterEach(async () => {
    for (const gate of gates) gate.open();
    await archive.close();
    await box.remove();
  });

  function start(options: Partial<ReaderPoolOptions> = {}): void {
    archive = startArchiveReader({
      path: box.path,
      clock,
      onProblem: (error) => problems.push(error),
      program: STANDING_PROGRAM,
      ...options,
    });
  }
  function standing(): Standing {
    const gate = new Standing();
    gates.push(gate);
    return gate;
  }
  const counter = (name: string): number => archive.counters()[`archive.${name}`]!;

  it("the program as built answers every question, and its errors keep their codes", async () => {
    start({ program: READER_PROGRAM });
    expect(await archive.report("r1")).toMatchObject({ id: "r1", report_id: "a" });
    expect((await archive.for({}).list("records", { report: "r1" }, { limit: 5 })).items).toHaveLength(1);
    expect(await archive.report("r2")).toBeUndefined();
    expect(await days(archive)).toHaveLength(1);
    expect(archive.counters()).toMatchObject({
      "archive.readers": 2,
      "archive.questions": 4,
      "archive.questions.now": 0,
      "archive.cancelled": 0,
    });
    box.sql((database) => database.exec("DROP TABLE tls_policy"));
    await expect(archive.tlsPolicies("r1")).rejects.toMatchObject({ code: "store.io" });
    const text = { values: [{}] } as unknown as string; // no value for SQLite
    await expect(days(archive, { domain: text })).rejects.toMatchObject({ code: "daemon.bug" });
  });

  it("a look-up by id waited for two long questions", async () => {
    start();
    const gate = standing();
    const long = [gate.ask(archive), gate.ask(archive)];
    await gate.running();
    expect(await archive.report("r1")).toMatchObject({ id: "r1" });
    expect(await archive.stats()).toMatchObject({ "archive.mail": 1 });
    expect(gate.begun).toBe(1); // one runs, the other waits; neither took the last thread
    expect(archive.counters()).toMatchObject({ "archive.questions.now": 1, "archive.questions.waiting": 1 });
    gate.open();
    expect(await Promise.all(long)).toHaveLength(2);
  });

  it("a client that was gone kept its thread: the question is cancelled and the next one runs", async () => {
    start();
    const gate = standing();
    const gone = new AbortController();
    const asker = archive.for({ signal: gone.signal });
    const running = gate.ask(asker);
    await gate.running();
    const next = days(archive);
    gone.abort();
    await expect(running).rejects.toMatchObject({ code: "archive.cancelled" });
    expect(await next).toHaveLength(1); // the only thread for long questions is free again
    await expect(asker.report("r1")).rejects.toMatchObject({ code: "archive.cancelled" });
    expect(counter("cancelled")).toBe(2);
    expect(clock.pendingTimers).toBe(0);
    expect(problems).toEqual([]);
  });

  it("a question that waited ran although its client was gone", async () => {
    start();
    const [first, second] = [standing(), standing()];
    const running = first.ask(archive);
    const gone = new AbortController();
    const waiting = second.ask(archive.for({ signal: gone.signal }));
    gone.abort();
    await expect(waiting).rejects.toMatchObject({ code: "archive.cancelled" });
    first.open();
    await running;
    expect(await days(archive)).toHaveLength(1);
    expect(second.begun).toBe(0);
  });

  it("a question had no deadline: it is answered when its time is over, running or waiting", async () => {
    start();
    const gate = standing();
    const running = gate.ask(archive);
    await gate.running();
    const waiting = days(archive.for({ deadlineMs: DEADLINE_MS / 2 }));
    waiting.catch(() => undefined);
    await clock.advance(DEADLINE_MS / 2 - 1);
    expect(counter("deadline")).toBe(0);
    await clock.advance(1);
    await expect(waiting).rejects.toMatchObject({
      code: "archive.deadline",
      detail: "15 s",
      temporary: true,
      httpStatus: 503,
    });
    await clock.advance(DEADLINE_MS / 2);
    await expect(running).rejects.toMatchObject({ code: "archive.deadline", detail: "30 s" });
    expect(await days(archive)).toHaveLength(1); // its thread has noticed
    expect(counter("deadline")).toBe(2);
  });

  it("an endless number of questions waited: further ones are refused at once, those that wait are answered", async () => {
    start();
    const gate = standing();
    const running = gate.ask(archive);
    const waiting = Array.from({ length: MOST_WAITING }, () => days(archive));
    await expect(archive.list("reports", {}, { limit: 1 })).rejects.toMatchObject({
      code: "archive.busy",
      temporary: true,
      httpStatus: 503,
    });
    expect(await archive.report("r1")).toMatchObject({ id: "r1" }); // a short question has room of its own
    expect(counter("refused")).toBe(1);
    gate.open();
    await running;
    expect((await Promise.all(waiting)).filter((rows) => rows.length === 1)).toHaveLength(MOST_WAITING);
    expect((await archive.list("reports", {}, { limit: 1 })).items).toHaveLength(1);
  });

  it("a flood of long questions refused short ones while both threads worked: those have room of their own", async () => {
    start();
    const gate = standing();
    const running = [gate.ask(archive), gate.askShort(archive)];
    await gate.running(2);
    const long = Array.from({ length: MOST_WAITING }, () => days(archive));
    const short = Array.from({ length: MOST_WAITING }, () => archive.report("r1"));
    await expect(days(archive)).rejects.toMatchObject({ code: "archive.busy" });
    await expect(archive.report("r1")).rejects.toMatchObject({ code: "archive.busy" });
    gate.open();
    expect(await Promise.all([...running, ...long, ...short])).toHaveLength(2 + 2 * MOST_WAITING);
  });

  it("each refused question was logged, hundreds in a flood: one line until no question waits", async () => {
    const told: unknown[] = [];
    start({ onOverload: (error) => told.push(error) });
    for (let flood = 1; flood <= 2; flood++) {
      const gate = standing();
      const running = gate.ask(archive);
      const waiting = Array.from({ length: MOST_WAITING }, () => days(archive));
      for (let n = 0; n < 3; n++) await expect(days(archive)).rejects.toMatchObject({ code: "archive.busy" });
      expect(told).toMatchObject(Array(flood).fill({ code: "archive.busy" }));
      expect(counter("refused")).toBe(3 * flood);
      gate.open();
      await Promise.all([running, ...waiting]);
    }
  });

  it("a thread that died failed the questions of others: its own fails, a new one takes the next", async () => {
    start();
    const [dying, other] = [standing(), standing()];
    const failing = dying.ask(archive, "dies");
    const waiting = days(archive);
    const short = archive.report("r1");
    await expect(failing).rejects.toMatchObject({ code: "store.io", temporary: true });
    expect(await short).toMatchObject({ id: "r1" });
    expect(await waiting).toHaveLength(1);
    expect(problems.map(String)).toEqual(["Error: exit 3"]);
    expect(counter("readers")).toBe(2);
    other.open();
    expect(await other.ask(archive)).toHaveLength(1);
  });

  it("a thread that cannot start failed nobody, and everybody waited: each question fails", async () => {
    start({ program: new URL("file:///nonexistent.js") });
    for (let n = 0; n < 3; n++)
      await expect(days(archive)).rejects.toMatchObject({ code: "store.io", temporary: true });
    expect(String(problems[0])).toContain("nonexistent.js");
  });

  it("a thread that did not notice the cancelling was lost: another takes its place, and it ends when it comes back", async () => {
    start();
    const deaf = standing();
    const gone = new AbortController();
    const stuck = deaf.ask(archive.for({ signal: gone.signal }), "deaf");
    await deaf.running();
    const waiting = days(archive);
    gone.abort();
    await expect(stuck).rejects.toMatchObject({ code: "archive.cancelled" });
    await clock.advance(PATIENCE_MS);
    expect(await waiting).toHaveLength(1);
    expect(problems.map(String)).toEqual([
      'Error: a reader thread still runs "list" 5 s after it was cancelled; another thread is started',
    ]);
    expect(counter("readers")).toBe(3);
    deaf.open();
    await until("the replaced thread to end", () => counter("readers") === 2);
    expect(problems).toHaveLength(1);
  });

  it("threads were replaced without end: beyond some the questions are refused, until one has ended", async () => {
    start();
    const stuck = Array.from({ length: MOST_REPLACED + 1 }, standing);
    for (const gate of stuck) {
      const gone = new AbortController();
      gate.ask(archive.for({ signal: gone.signal }), "deaf");
      await gate.running();
      gone.abort();
      await clock.advance(PATIENCE_MS);
    }
    await expect(days(archive)).rejects.toMatchObject({ code: "archive.busy" });
    expect(await archive.report("r1")).toMatchObject({ id: "r1" });
    expect(counter("readers")).toBe(2 + MOST_REPLACED);
    stuck[0]!.open(); // its thread ends, and so the last one can be replaced
    await until("a thread to be replaced", () => problems.length === MOST_REPLACED + 1);
    expect(await days(archive)).toHaveLength(1);
  });

  it("a thread that hung for long and came back works on", async () => {
    start();
    const stuck = Array.from({ length: MOST_REPLACED + 1 }, standing);
    for (const gate of stuck) {
      gate.ask(archive.for({ deadlineMs: 1000 }), "deaf");
      await gate.running();
      await clock.advance(1000 + PATIENCE_MS);
    }
    await expect(days(archive)).rejects.toMatchObject({ code: "archive.busy" });
    stuck.at(-1)!.open();
    await until("its thread to be free", () => counter("questions.now") === 0);
    expect(await Promise.all([days(archive), days(archive)])).toHaveLength(2); // the second one waits
    expect(problems).toHaveLength(MOST_REPLACED);
  });

  it("closing waited for a long question: it is cancelled, those that wait are refused", async () => {
    start();
    const gate = standing();
    const [running, waiting] = [gate.ask(archive), days(archive)];
    await gate.running();
    const closed = archive.close();
    for (const answer of [running, waiting, days(archive)])
      await expect(answer).rejects.toMatchObject({ code: "daemon.stopping" });
    await closed;
    await archive.close(); // once more
    expect(archive.counters()).toMatchObject({ "archive.readers": 0, "archive.questions.now": 0 });
    expect(clock.pendingTimers).toBe(0);
    expect(problems).toEqual([]);
  });

  it("closing waited for a thread that notices nothing: five seconds are enough", async () => {
    start();
    const gate = standing();
    const running = gate.ask(archive, "deaf");
    await gate.running();
    const closed = archive.close();
    await expect(running).rejects.toMatchObject({ code: "daemon.stopping" });
    await until("the other thread to end", () => counter("readers") === 1);
    await clock.advance(5000);
    await closed;
    expect(counter("readers")).toBe(1);
    gate.open();
    await until("the thread to end", () => counter("readers") === 0);
  });

  it("one thread alone answers everything", async () => {
    start({ threads: 1 });
    expect(await days(archive)).toHaveLength(1);
    expect(await archive.report("r1")).toMatchObject({ id: "r1" });
    expect(counter("readers")).toBe(1);
  });
});
