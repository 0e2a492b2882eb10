/** The log of mail that gets a temporary error by a fault of ours. */
import type { SMTPServerSession } from "smtp-server";
import { expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import { type AcceptorOptions, MailAcceptor } from "../../src/receive/smtp/accept.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { loggedEvents } from "../support/recorded-events.ts";
import { recordedLog } from "../support/recorded-log.ts";

it("a full disk wrote one line for each mail: one a minute for each code, with the number of the others", async () => {
  const clock = new FakeClock();
  const log = recordedLog();
  const events = loggedEvents(log, clock);
  const acceptor = new MailAcceptor({ clock, log, events } as unknown as AcceptorOptions);
  const session = {
    envelope: { mailFrom: false },
    remoteAddress: "192.0.2.1",
  } as unknown as SMTPServerSession;
  const defer = (code: "store.full" | "store.busy") =>
    acceptor.deferred(session, { error: new MailreportError(code), bug: false });
  for (let n = 0; n < 100; n++) defer("store.full");
  defer("store.busy");
  await clock.advance(60_000);
  defer("store.full");
  await clock.advance(60_000);
  defer("store.full");
  const lines = log.of("mail.deferred").map(({ code, not_logged }) => [code, not_logged]);
  expect(lines).toEqual([
    ["store.full", undefined],
    ["store.busy", undefined],
    ["store.full", 99],
    ["store.full", undefined],
  ]);
  expect(acceptor.stats()["mail.deferred"]).toBe(103);
});
