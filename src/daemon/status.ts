/** The state of the daemon: its counters, and a line about each subsystem. */
import { errorText, MailreportError } from "../lib/errors.ts";
import { iso } from "../lib/units.ts";
import { SUBSYSTEMS, type Subsystem } from "../model/queue.ts";
import type { DaemonStatus } from "../services/daemon.ts";
import type { ArchiveQuestions } from "../store/archive/reader.ts";
import type { QueueStore } from "../store/queue.ts";
import type { Parts } from "./parts.ts";

/** Counters that are shown from the start, at 0. */
const ARCHIVE_COUNTERS = [
  ...["dmarc", "tls", "failure", "arf", "dsn"].map((kind) => `archive.report.${kind}`),
  ...["mail", "unread", "unparsed", "record", "message", "message.pass", "tls.session", "tls.failure"].map(
    (name) => `archive.${name}`,
  ),
  ...["pass", "fail", "none", "temperror"].map((verdict) => `archive.auth.${verdict}`),
];
const QUEUE_COUNTERS = [
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

const zeros = (names: readonly string[]): Record<string, number> =>
  Object.fromEntries(names.map((name) => [name, 0]));

/** The counters of the archive; of what it holds none while it cannot be asked, so that the others can still be seen. */
async function archiveStats(archive: ArchiveQuestions): Promise<Record<string, number>> {
  try {
    return { ...zeros(ARCHIVE_COUNTERS), ...(await archive.stats()), ...archive.counters() };
  } catch (error) {
    if (error instanceof MailreportError && error.temporary) return archive.counters();
    throw error;
  }
}

/** All counters, by name. Those of an archive that cannot be asked now are left out. */
export async function statsOf(parts: Parts): Promise<Record<string, number>> {
  return {
    ...(await archiveStats(parts.need("archive"))),
    ...zeros(QUEUE_COUNTERS),
    ...parts.need("queue").stats(),
    ...parts.need("ingest").stats(),
    ...parts.need("smtp").stats(),
    ...parts.need("verifier").stats(),
    ...parts.need("scheduler").stats(),
    ...parts.need("delivery").stats(),
  };
}

/** All subsystems of a daemon that has not started yet: they wait for a problem to pass. */
export function waitingSubsystems(problem: MailreportError | null): DaemonStatus["subsystems"] {
  const detail = problem ? `the start waits: ${errorText(problem)}` : "starting";
  return Object.fromEntries(
    SUBSYSTEMS.map((name) => [name, { state: "waiting", detail }]),
  ) as DaemonStatus["subsystems"];
}

/** When the next report is due. The store may be unable to tell. */
function dueText(queue: QueueStore): string {
  try {
    const due = queue.nextOutgoingDue();
    if (due === undefined) return "no outgoing report is open";
    return `next report due ${iso(due)}`;
  } catch (error) {
    return `cannot tell when a report is due: ${errorText(error)}`;
  }
}

/** What keeps mail from being stored, as it is answered; empty when nothing does. */
function problemText(problem: MailreportError | null): string {
  if (!problem) return "";
  return `answered the last mail with ${problem.code === "store.full" ? 452 : 451}: ${errorText(problem)}; `;
}

/** Destinations to which nothing is delivered; empty when there are none. The store may be unable to tell. */
function pausedText(queue: QueueStore): string {
  let paused: number;
  try {
    paused = queue.pauses().filter((p) => p.subsystem === "mta" && p.destination !== null).length;
  } catch (error) {
    return `, cannot tell which destinations are paused: ${errorText(error)}`;
  }
  return paused === 0 ? "" : `, ${paused} destination${paused === 1 ? "" : "s"} paused`;
}

/** What each subsystem does now. */
export function subsystemsOf(
  parts: Parts,
  isPaused: (subsystem: Subsystem) => boolean,
): DaemonStatus["subsystems"] {
  const [queue, ingest, smtp] = [parts.need("queue"), parts.need("ingest"), parts.need("smtp")];
  const stats = { ...smtp.stats(), ...parts.need("delivery").stats() };
  const failing = ingest.parsing === "failing" ? "; parsing fails, see the log" : "";
  const details: Readonly<Record<Subsystem, string>> = {
    smtp: `${problemText(smtp.problem)}${stats["smtp.session.now"]} sessions, ${smtp.listening.map((l) => l.address).join(" ")}`,
    mda: `${ingest.waiting.mails} mails wait for their reply, ${ingest.unparsed} are stored and not parsed yet${failing}`,
    mta: `${stats["mta.session.now"]} in flight${pausedText(queue)}`,
    scheduler: dueText(queue),
  };
  return Object.fromEntries(
    SUBSYSTEMS.map((name) => [name, { state: isPaused(name) ? "paused" : "running", detail: details[name] }]),
  ) as DaemonStatus["subsystems"];
}
