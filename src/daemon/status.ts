/** How the daemon is: its counters, and a line about each subsystem. */
import type { StatusAnswer } from "../control/services.ts";
import type { Delivery } from "../deliver/runner.ts";
import { SUBSYSTEMS, type Subsystem } from "../model/queue.ts";
import type { MessageVerifier } from "../receive/auth/verify.ts";
import type { IngestPort } from "../receive/port.ts";
import type { SmtpListeners } from "../receive/smtp/server.ts";
import type { ArchiveReader } from "../store/archive.ts";
import type { QueueStore } from "../store/queue.ts";

/** Whose counters are shown. */
export interface DaemonParts {
  readonly archive: ArchiveReader;
  readonly queue: QueueStore;
  readonly ingest: IngestPort;
  readonly smtp: SmtpListeners;
  readonly verifier: MessageVerifier;
  readonly delivery: Delivery;
}

/** Counters that are shown from the start, before they were touched. */
const KNOWN_COUNTERS = [
  ...["dmarc", "tls", "failure", "arf", "dsn"].map((kind) => `archive.report.${kind}`),
  ...["mail", "unread", "unparsed", "record", "message", "message.pass", "tls.session", "tls.failure"].map(
    (name) => `archive.${name}`,
  ),
  ...["pass", "fail", "none", "temperror"].map((verdict) => `archive.auth.${verdict}`),
  ...["open", "held", "composed", "dropped", "tally"].map((name) => `outgoing.${name}`),
  ...[
    "envelope.pending",
    "envelope.inflight",
    "envelope.held",
    "delivered",
    "failed",
    "expired",
    "removed",
  ].map((name) => `queue.${name}`),
];

/** All counters, by name. */
export async function statsOf(parts: DaemonParts): Promise<Record<string, number>> {
  return {
    ...Object.fromEntries(KNOWN_COUNTERS.map((name) => [name, 0])),
    ...(await parts.archive.stats()),
    ...parts.queue.stats(),
    ...parts.ingest.stats(),
    ...parts.smtp.stats(),
    ...parts.verifier.stats(),
    ...parts.delivery.stats(),
  };
}

/** What each subsystem does now. */
export function subsystemsOf(
  { queue, ingest, smtp, delivery }: DaemonParts,
  isPaused: (subsystem: Subsystem) => boolean,
): StatusAnswer["subsystems"] {
  const stats = { ...smtp.stats(), ...delivery.stats() };
  const due = queue.nextOutgoingDue();
  const details: Readonly<Record<Subsystem, string>> = {
    smtp: `${stats["smtp.session.now"]} sessions, ${smtp.listening.map((l) => l.address).join(" ")}`,
    mda: `${ingest.waiting.mails} mails wait for their answer, ${ingest.unparsed} are stored and not read yet`,
    mta: `${stats["mta.session.now"]} in flight`,
    scheduler:
      due === undefined
        ? "no outgoing report is open"
        : `next report due ${new Date(due * 1000).toISOString()}`,
  };
  return Object.fromEntries(
    SUBSYSTEMS.map((name) => [name, { state: isPaused(name) ? "paused" : "running", detail: details[name] }]),
  ) as StatusAnswer["subsystems"];
}
