/** Bounces on their way from the intake of mail to the delivery, and the order in which both stop. */
import { describe, expect, it } from "vitest";
import { Bounces } from "../../src/daemon/bounces.ts";
import { type StoppedPart, Stopping } from "../../src/daemon/stopping.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import type { DsnReport } from "../../src/model/report.ts";
import { returnPath } from "../../src/report/messages.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { recordedLog } from "../support/recorded-log.ts";
import { testConfig } from "../support/test-config.ts";

const SECRET = Buffer.alloc(32, 7);
const REPORT = { domain: "example.org", from: "noreply@example.org" };
const DSN = { recipients: [] } as unknown as DsnReport;
const toUs = (id: string) => returnPath(id, { config: testConfig({ report: REPORT }), secret: SECRET });
const mail = (id: string) => ({ dsns: [DSN], envelopeTo: [toUs(id), "dmarc@example.org"] });

describe("a bounce", () => {
  it("that was parsed before the delivery was there was lost: it waits for the delivery, in order", () => {
    const recorded: string[] = [];
    const bounces = new Bounces(silentLog, () => SECRET);
    bounces.take(mail("0a0a0a0a"));
    bounces.take({ dsns: [], envelopeTo: [toUs("0c0c0c0c")] });
    bounces.deliverTo({ bounced: (messageId) => recorded.push(messageId) });
    bounces.take(mail("0b0b0b0b"));
    bounces.stop();
    expect(recorded).toEqual(["0a0a0a0a", "0b0b0b0b"]);
  });

  it("of a start that was ended is named in the log", () => {
    const log = recordedLog();
    const bounces = new Bounces(log, () => SECRET);
    bounces.take(mail("0a0a0a0a"));
    bounces.stop();
    expect(log.of("unit.failed")).toMatchObject([{ unit: "bounce", message: "0a0a0a0a" }]);
  });

  it("that came while the daemon stopped was lost: recording ends after all that takes mail, before the queue", async () => {
    const order: StoppedPart[] = [];
    const stops = new Stopping(silentLog, new FakeClock());
    for (const part of ["queue", "bounces", "ingest", "smtp", "delivery"] as const)
      stops.add(part, () => void order.push(part));
    await stops.all();
    expect(order).toEqual(["delivery", "smtp", "ingest", "bounces", "queue"]);
  });
});
