/** The burst rule of the ingest process: a table of what waits, and what follows. */
import { describe, expect, it } from "vitest";
import { Burst, MOST_SPOOLED } from "../../src/receive/ingest/burst.ts";
import type { ParseWhen } from "../../src/receive/ingest/protocol.ts";

const mails = (n: number, when: ParseWhen = "soon") => Array.from({ length: n }, () => ({ when }));

describe("the burst rule", () => {
  const at = { ms: 0 };
  const burst = () => new Burst(() => at.ms);

  it("four mails that wait together are parsed before their answer, the fifth makes a burst", () => {
    expect(burst().storeFirst(mails(4), 0)).toBe(false);
    expect(burst().storeFirst(mails(5), 0)).toBe(true);
  });

  it("mails that do not come as `soon` make no burst", () => {
    expect(burst().storeFirst([...mails(4), ...mails(40, "now"), ...mails(40, "later")], 0)).toBe(false);
  });

  it("a single mail within 20 ms after the commit of a burst is stored first too, and spooled mail waits that long", () => {
    const rule = burst();
    rule.storeFirst(mails(5), 0);
    at.ms += 500; // a slow disk
    expect(rule.calmIn(5)).toBe(20);
    rule.committed();
    at.ms += 19;
    expect([rule.storeFirst(mails(1), 5), rule.calmIn(5)]).toEqual([true, 1]);
    at.ms += 1;
    expect([rule.storeFirst(mails(1), 5), rule.calmIn(5)]).toEqual([false, 0]);
  });

  it("senders wait for the parsers when 10,000 mails are spooled, and spooled mail is parsed in the burst", () => {
    const rule = burst();
    expect(rule.storeFirst(mails(5), MOST_SPOOLED - 1)).toBe(true);
    expect([rule.storeFirst(mails(5), MOST_SPOOLED), rule.calmIn(MOST_SPOOLED)]).toEqual([false, 0]);
  });

  it("ends when somebody waits for spooled mail", () => {
    const rule = burst();
    rule.storeFirst(mails(5), 0);
    rule.end();
    expect([rule.calmIn(5), rule.storeFirst(mails(1), 5)]).toEqual([0, false]);
  });
});
