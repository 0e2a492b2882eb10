/** The line about each subsystem in the status. */
import { expect, it } from "vitest";
import { Parts } from "../../src/daemon/parts.ts";
import { statsOf } from "../../src/daemon/status.ts";
import { subsystemsOf } from "../../src/daemon/subsystems.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { testConfig } from "../support/test-config.ts";

function partsWith(problem: MailreportError | null, destinations: readonly (string | null)[]): Parts {
  const parts = new Parts(testConfig(), () => null);
  const pauses = destinations.map((destination) => ({ subsystem: "mta", destination }));
  Object.assign(parts.made, {
    queue: { pauses: () => pauses, nextOutgoingDue: () => undefined },
    ingest: { waiting: { mails: 0 }, unparsed: 0, parsing: problem ? "failing" : "running" },
    smtp: { problem, listening: [{ address: "127.0.0.1:25" }], stats: () => ({ "smtp.session.now": 1 }) },
    delivery: { stats: () => ({ "mta.session.now": 0 }) },
  });
  return parts;
}

it("was silent about a full disk and paused destinations: it says why mail is answered 452, and how many", () => {
  const full = subsystemsOf(
    partsWith(new MailreportError("store.full"), ["a.example", "b.example"]),
    () => false,
  );
  expect(full.smtp.detail).toBe(
    "answered the last mail with 452: no space left for the database; 1 sessions, 127.0.0.1:25",
  );
  expect(full.mda.detail).toMatch(/; parsing fails, see the log$/);
  expect(full.mta.detail).toBe("0 in flight, 2 destinations paused");
});

it("says nothing of either when all is well", () => {
  const { smtp, mda, mta } = subsystemsOf(partsWith(null, [null]), () => false);
  expect(smtp.detail).toBe("1 sessions, 127.0.0.1:25");
  expect(mda.detail).toMatch(/not parsed yet$/);
  expect(mta.detail).toBe("0 in flight");
});

it("counters of the readers were missing when the archive was overloaded, which is when they matter", async () => {
  const parts = new Parts(testConfig(), () => null);
  const none = { stats: () => ({}) };
  Object.assign(parts.made, {
    queue: none,
    ingest: none,
    smtp: none,
    verifier: none,
    scheduler: none,
    delivery: none,
  });
  const refused = { "archive.refused": 3 };
  const stats = () => Promise.reject(new MailreportError("archive.busy"));
  Object.assign(parts.made, { archive: { stats, counters: () => refused } });
  expect(await statsOf(parts)).toMatchObject(refused);
  Object.assign(parts.made, {
    archive: { stats: async () => ({ "archive.mail": 1 }), counters: () => refused },
  });
  expect(await statsOf(parts)).toMatchObject({ ...refused, "archive.mail": 1 });
});
