/** The services behind the control socket. While the start waits, one that needs a missing part fails with the reason. */
import type { ReloadAnswer, Services, StatusAnswer } from "../control/services.ts";
import { makeEnvelopeOperations } from "../deliver/operations.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { LogSink } from "../lib/log/pino.ts";
import { failureOf, logFailure } from "../lib/supervised.ts";
import type { DaemonEventSink } from "../model/events.ts";
import { NOT_VERIFIED } from "../receive/auth/verify.ts";
import { late } from "./late.ts";
import type { Parts } from "./parts.ts";
import type { Pauses } from "./pauses.ts";

/** A request waits this long until mail that was accepted before it is parsed; with `--wait` the second one. */
const CATCH_UP_MS = 1000;
const WAIT_MS = 3_600_000;

export interface ServiceOptions {
  readonly parts: Parts;
  readonly pauses: Pauses;
  readonly clock: Clock;
  readonly sink: LogSink;
  readonly events: DaemonEventSink;
  readonly stats: () => Promise<Record<string, number>>;
  readonly status: () => StatusAnswer;
  readonly reload: (dryRun: boolean) => Promise<ReloadAnswer>;
  readonly stop: () => void;
}

export function makeServices({ parts, pauses, clock, sink, events, ...life }: ServiceOptions): Services {
  const queue = parts.late("queue");
  const audit: Services["audit"] = (command, detail) => {
    const who = "control socket";
    events.emit("control.changed", { command, who, detail });
    try {
      queue.audit({ at: epochSeconds(clock), who, command, detail: JSON.stringify(detail) });
    } catch (error) {
      const failure = failureOf(error);
      if (failure.error.code === "store.not_durable") throw error;
      // the command was carried out, and must not be told as failed
      logFailure({ log: sink.log, unit: "audit", fields: { command } }, failure);
    }
  };
  return {
    log: sink.log,
    queue,
    envelopes: makeEnvelopeOperations({
      config: () => parts.config,
      store: queue,
      clock,
      audit,
      wake: () => parts.made.delivery?.wake(),
    }),
    archive: parts.late("archive"),
    outgoing: late(() => parts.need("scheduler").requests),
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
    parsed: async (all) => {
      const ingest = parts.need("ingest");
      await ingest.allParsed(all ? WAIT_MS : CATCH_UP_MS);
      return ingest.unparsed;
    },
    parsing: () => parts.need("ingest").parsing,
    wait: (ms) => new Promise((resolve) => clock.after(ms, resolve)),
    feeds: () => ["control", ...parts.config.feed.map(({ name }) => name)],
    feed: (name, texts, first, dryRun) => {
      const lines = texts.map((text, i) => ({ number: first + i, text }));
      const feeder = parts.need("feeder");
      return dryRun ? feeder.check(lines) : feeder.lines(name, lines);
    },
    stats: () => life.stats(),
    status: () => life.status(),
    pause: (subsystem, destination, who, reason) => pauses.pause(subsystem, destination, who, reason),
    resume: (subsystem, destination, who, reason) => pauses.resume(subsystem, destination, who, reason),
    audit,
    databases: parts.late("databases"),
    jobs: parts.late("jobs"),
    reload: (dryRun) => life.reload(dryRun),
    stop: () => life.stop(),
    setLogLevel: (level) => sink.setLevel(level),
    now: () => epochSeconds(clock),
  };
}
