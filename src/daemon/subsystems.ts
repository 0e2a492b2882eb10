/** What each subsystem does now, and how a pause is put into force. A new subsystem is an entry here. */
import { errorText, type MailreportError } from "../lib/errors.ts";
import { iso } from "../lib/units.ts";
import { SUBSYSTEMS, type Subsystem } from "../model/subsystems.ts";
import type { DaemonStatus } from "../services/daemon.ts";
import type { QueueStore } from "../store/queue.ts";
import type { Parts } from "./parts.ts";

interface SubsystemPart {
  /** What it does now, in a line. */
  detail(parts: Parts): string;
  /** Puts a pause into force, or ends it; absent where it asks the store when it is woken. */
  apply?(parts: Parts, paused: boolean): void;
}

const PARTS: Readonly<Record<Subsystem, SubsystemPart>> = {
  smtp: {
    detail(parts) {
      const smtp = parts.need("smtp");
      const addresses = smtp.listening.map(({ address }) => address).join(" ");
      return `${problemText(smtp.problem)}${smtp.stats()["smtp.session.now"]} sessions, ${addresses}`;
    },
    apply: ({ made }, paused) => made.smtp?.pauseIntake(paused),
  },
  mda: {
    detail(parts) {
      const ingest = parts.need("ingest");
      const failing = ingest.parsing === "failing" ? "; parsing fails, see the log" : "";
      return `${ingest.waiting.mails} mails wait for their reply, ${ingest.unparsed} are stored and not parsed yet${failing}`;
    },
    apply: ({ made }, paused) => made.ingest?.pauseParsing(paused),
  },
  mta: {
    detail: (parts) =>
      `${parts.need("delivery").stats()["mta.session.now"]} in flight${pausedText(parts.need("queue"))}`,
  },
  scheduler: { detail: (parts) => dueText(parts.need("queue")) },
};

/** All subsystems of a daemon that has not started yet: they wait for a problem to pass. */
export function waitingSubsystems(problem: MailreportError | null): DaemonStatus["subsystems"] {
  const detail = problem ? `the start waits: ${errorText(problem)}` : "starting";
  return Object.fromEntries(
    SUBSYSTEMS.map((name) => [name, { state: "waiting", detail }]),
  ) as DaemonStatus["subsystems"];
}

/** All subsystems of a daemon that runs. */
export function subsystemsOf(
  parts: Parts,
  isPaused: (subsystem: Subsystem) => boolean,
): DaemonStatus["subsystems"] {
  return Object.fromEntries(
    SUBSYSTEMS.map((name) => [
      name,
      { state: isPaused(name) ? "paused" : "running", detail: PARTS[name].detail(parts) },
    ]),
  ) as DaemonStatus["subsystems"];
}

/** Puts all pauses into force. Nothing changes when it cannot be told whether one of them is paused. */
export function applyPauses(parts: Parts, isPaused: (subsystem: Subsystem) => boolean): void {
  const paused = SUBSYSTEMS.map((name) => [name, isPaused(name)] as const);
  for (const [name, is] of paused) PARTS[name].apply?.(parts, is);
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
