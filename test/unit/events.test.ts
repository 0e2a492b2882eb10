/** The emitter of events, and the log and the counters as its subscribers. */
import { describe, expect, it } from "vitest";
import { countEvents } from "../../src/daemon/event-counters.ts";
import { logEvents } from "../../src/daemon/event-log.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { Events } from "../../src/lib/events.ts";
import type { DaemonEvents, EventFields } from "../../src/model/events.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { recordedLog } from "../support/recorded-log.ts";

interface Fruit {
  readonly apple: { readonly red: boolean };
  readonly pear: { readonly grams: number };
}

function fruit() {
  const log = recordedLog();
  return { log, events: new Events<Fruit>(log) };
}

describe("an event", () => {
  it("reaches those who subscribed to it, in the order of subscription, before emit returns", () => {
    const { events } = fruit();
    const got: string[] = [];
    events.subscribe("first", "all", ({ name }) => got.push(`first ${name}`));
    events.subscribe("second", ["pear"], ({ fields }) => got.push(`second ${fields.grams}`));
    events.subscribe("third", ["apple", "pear"], (event) =>
      got.push(event.name === "apple" ? `third ${event.fields.red}` : `third ${event.fields.grams}`),
    );
    events.emit("pear", { grams: 150 });
    expect(got).toEqual(["first pear", "second 150", "third 150"]);
    events.emit("apple", { red: true });
    expect(got.slice(3)).toEqual(["first apple", "third true"]);
  });

  it("has the fields of its name, and no others", () => {
    const { events } = fruit();
    // @ts-expect-error: of another event
    events.emit("pear", { red: true });
    // @ts-expect-error: not in the catalogue
    events.emit("plum", {});
    // @ts-expect-error: not in the catalogue
    events.subscribe("test", ["plum"], () => {});
    events.subscribe("test", ["apple"], ({ fields }) => {
      // @ts-expect-error: of another event
      expect(fields.grams).toBeUndefined();
    });
    events.emit("apple", { red: false });
  });

  it("a subscriber that threw ended the attempt that reported: it is logged, the others and the emitter go on", () => {
    const { events, log } = fruit();
    const got: number[] = [];
    events.subscribe("broken", ["pear"], () => {
      throw new TypeError("no such thing");
    });
    events.subscribe("good", ["pear"], ({ fields }) => got.push(fields.grams));
    expect(() => events.emit("pear", { grams: 1 })).not.toThrow();
    expect(got).toEqual([1]);
    expect(log.of("unit.failed")).toMatchObject([
      {
        unit: "event subscriber",
        subscriber: "broken",
        event: "pear",
        code: "daemon.bug",
        stack: expect.any(String),
      },
    ]);
  });

  it("a subscriber that failed for each mail filled the log: it is logged once, and again after it had succeeded", () => {
    const { events, log } = fruit();
    events.subscribe("full", ["pear"], ({ fields }) => {
      if (fields.grams > 100) throw new MailreportError("store.full");
    });
    for (const grams of [500, 500, 500, 50, 500]) events.emit("pear", { grams });
    expect(log.of("unit.failed").map(({ code }) => code)).toEqual(["store.full", "store.full"]);
  });

  it("a rejected promise of a subscriber ended the process: it is logged", async () => {
    const { events, log } = fruit();
    events.subscribe("late", "all", async () => {
      throw new MailreportError("store.busy");
    });
    events.emit("apple", { red: true });
    await settle();
    expect(log.of("unit.failed")).toMatchObject([{ subscriber: "late", code: "store.busy" }]);
  });

  it("reaches nobody whose subscription has ended, not even in the middle of the event", () => {
    const { events } = fruit();
    const got: string[] = [];
    const end = { second: () => {} };
    events.subscribe("first", "all", () => {
      got.push("first");
      end.second();
      events.subscribe("new", ["apple"], () => got.push("new"));
    });
    end.second = events.subscribe("second", "all", () => got.push("second"));
    events.emit("apple", { red: true });
    expect(got).toEqual(["first"]); // and who subscribed during the event gets the next one
    events.emit("apple", { red: true });
    expect(got).toEqual(["first", "first", "new"]);
  });
});

const ENVELOPE: EventFields["envelope.failed"] = {
  id: "0a0a0a0a00000001",
  message: "0a0a0a0a",
  outgoing: "d!a.example!0123456789abcdef!1",
  domain: "a.example",
  rcpt: "r@b.example",
  host: "mx.b.example",
  tls: "TLSv1.3",
  code: 550,
  enhanced: "5.1.1",
  reply: "550 5.1.1 no",
  attempts: 1,
  ms: 12,
  next: null,
};

describe("the log", () => {
  function daemon() {
    const clock = new FakeClock();
    const log = recordedLog();
    const events: DaemonEvents = new Events(log);
    const end = logEvents(events, log, clock);
    return { clock, log, events, end };
  }

  it("has the line of an event with the level and fields that it always had", () => {
    const { log, events } = daemon();
    events.emit("envelope.failed", ENVELOPE);
    events.emit("envelope.deferred", { ...ENVELOPE, next: 77 });
    const { message: _, domain: __, enhanced: ___, next: ____, ...line } = ENVELOPE;
    expect(log.lines).toEqual([
      { level: "warn", event: "envelope.failed", fields: line },
      { level: "info", event: "envelope.deferred", fields: { ...line, next: 77 } },
    ]);
  });

  it.each([
    ["of an address that accepts no mail", "d@x.example", "info", { rcpt: "d@x.example" }],
    ["of a mail", null, "warn", { from: "a@b.example", reason: "loop" }],
  ] as const)("a refusal %s has its own level and fields", (_, rcpt, level, fields) => {
    const { log, events } = daemon();
    const remote = "192.0.2.1";
    events.emit("mail.refused", { from: "a@b.example", remote, rcpt, reply: "550", reason: "loop" });
    expect(log.lines).toEqual([
      { level, event: "mail.refused", fields: { remote, reply: "550", ...fields } },
    ]);
  });

  it.each([
    ["dns", "warn"],
    ["store", "warn"],
    ["composing", "error"],
  ] as const)("a report that waits for %s is a line of level %s", (cause, level) => {
    const { log, events } = daemon();
    const domain = "a.example";
    events.emit("outgoing.deferred", { id: "d!a", kind: "dmarc", domain, cause, reason: "why", next: 5 });
    expect(log.lines).toEqual([
      { level, event: "outgoing.deferred", fields: { id: "d!a", reason: "why", next: 5 } },
    ]);
  });

  it("a bug in a mail was two lines: its stack is in unit.failed, and DNS faults are never held back", () => {
    const { log, events } = daemon();
    const mail = { from: "", remote: null, reply: "451 4.3.0", reason: "why" };
    events.emit("mail.deferred", { ...mail, code: "daemon.bug" });
    expect(log.lines).toEqual([]);
    for (let n = 0; n < 3; n++) events.emit("mail.deferred", { ...mail, code: null });
    expect(log.lines.map(({ level }) => level)).toEqual(["warn", "warn", "warn"]);
  });

  it("a failed job was two lines: unit.failed is its line; a run by schedule is of level debug", () => {
    const { log, events } = daemon();
    const ended = { job: "retention", ms: 5 };
    events.emit("job.failed", { ...ended, who: "schedule", code: "store.full", error: "full", next: 1 });
    expect(log.lines).toEqual([]);
    events.emit("job.finished", { ...ended, who: "schedule", result: "ok", detail: {} });
    events.emit("job.finished", { ...ended, who: "control socket", result: "ok", detail: { rows: 1 } });
    expect(log.lines.map(({ level }) => level)).toEqual(["debug", "info"]);
  });

  it("gets nothing after its subscription has ended", () => {
    const { log, events, end } = daemon();
    end();
    events.emit("store.available", {});
    expect(log.lines).toEqual([]);
  });
});

it("each event is counted from 0, beside those that the log holds back", () => {
  const log = recordedLog();
  const events: DaemonEvents = new Events(log);
  const counts = countEvents(events);
  expect(counts()["event.report.stored"]).toBe(0);
  for (let n = 0; n < 3; n++) events.emit("envelope.failed", ENVELOPE);
  expect(counts()).toMatchObject({ "event.envelope.failed": 3, "event.envelope.delivered": 0 });
});
