/** The services behind the control socket. While the start waits, one that needs a missing part fails with the reason. */
import type { ReloadAnswer, Services, StatusAnswer } from "../control/services.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { LogSink } from "../lib/log/pino.ts";
import { NOT_VERIFIED } from "../receive/auth/verify.ts";
import type { Parts } from "./parts.ts";
import type { Pauses } from "./pauses.ts";

export interface ServiceOptions {
  readonly parts: Parts;
  readonly pauses: Pauses;
  readonly clock: Clock;
  readonly sink: LogSink;
  readonly stats: () => Promise<Record<string, number>>;
  readonly status: () => StatusAnswer;
  readonly reload: (dryRun: boolean) => Promise<ReloadAnswer>;
  readonly stop: () => void;
}

export function makeServices({ parts, pauses, clock, sink, ...life }: ServiceOptions): Services {
  const queue = parts.late("queue");
  return {
    queue,
    archive: parts.late("archive"),
    outgoing: parts.late("scheduler"),
    importOne: async ({ raw, fileName, form }) =>
      parts.need("ingest").acceptAndParse({
        raw,
        hints: { form, fileName, receivedAt: epochSeconds(clock) },
        source: "import",
        envelopeFrom: null,
        envelopeTo: [],
        remoteIp: null,
        remoteName: null,
        tls: null,
        auth: NOT_VERIFIED,
        kinds: [],
      }),
    reparse: async (mails) => parts.need("ingest").reparse(mails.map((mail) => Number(mail.id.slice(1)))),
    feed: (name, lines, first) =>
      parts.need("feeder").lines(
        name,
        lines.map((text, i) => ({ number: first + i, text })),
      ),
    stats: () => life.stats(),
    status: () => life.status(),
    pause: (subsystem, destination, who, reason) => pauses.pause(subsystem, destination, who, reason),
    resume: (subsystem, destination) => pauses.resume(subsystem, destination),
    audit: (command, detail) => {
      const who = "control socket";
      queue.audit({ at: epochSeconds(clock), who, command, detail: JSON.stringify(detail) });
      sink.log.info("control.changed", { command, who, ...detail });
    },
    databases: parts.late("housekeeping"),
    wakeDelivery: () => parts.made.delivery?.wake(),
    reload: (dryRun = false) => life.reload(dryRun),
    stop: () => life.stop(),
    setLogLevel: (level) => sink.setLevel(level),
    now: () => epochSeconds(clock),
  };
}
