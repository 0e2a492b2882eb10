/** Pausing and resuming subsystems, and delivery to single destinations. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import { normalizeDomain } from "../model/domain-name.ts";
import type { Pause } from "../model/queue.ts";
import { SUBSYSTEM_TABLE, type Subsystem } from "../model/subsystems.ts";
import type { Operation, Operations } from "./operation.ts";

export interface PauseRequest {
  readonly subsystem: Subsystem;
  /** null = the whole subsystem; else only this destination (mta), a domain as people write it. */
  readonly destination: string | null;
}

export interface PauseResult {
  /** The domain that the pause applies to, in canonical form. */
  readonly destination: string | null;
  /** False: it was so before. */
  readonly changed: boolean;
}

export interface PauseService {
  list(): readonly Pause[];
  /** The pause shows who made it and why. */
  readonly pause: Operation<PauseRequest, PauseResult>;
  readonly resume: Operation<PauseRequest, PauseResult>;
}

/** The stored pauses. Changing them also puts them into force. Errors: those of the store. */
export interface PauseControl {
  list(): readonly Pause[];
  /** True when it changed something. */
  pause(pause: Pause): boolean;
  /** True when it changed something. */
  resume(subsystem: Subsystem, destination: string | null): boolean;
}

export interface PauseOptions {
  readonly control: PauseControl;
  readonly clock: Clock;
}

export function makePauses(operations: Operations, { control, clock }: PauseOptions): PauseService {
  const isPaused = ({ subsystem, destination }: PauseRequest): boolean =>
    control.list().some((pause) => pause.subsystem === subsystem && pause.destination === destination);
  /** A stored pause is found as it is written in the list, too. */
  const resumed = (request: PauseRequest): PauseRequest => (isPaused(request) ? request : canonical(request));
  const audited = ({ changed, destination }: PauseResult) => (changed ? { destination } : null);

  return {
    list: () => control.list(),
    pause: operations.declare({
      name: "pause",
      command: ({ subsystem }) => `pause ${subsystem}`,
      plan: (request: PauseRequest) => {
        const asked = canonical(request);
        return { destination: asked.destination, changed: !isPaused(asked) };
      },
      change: (request, { who, reason }) => {
        const asked = canonical(request);
        const changed = control.pause({ ...asked, since: epochSeconds(clock), who, reason });
        return { destination: asked.destination, changed };
      },
      audited,
      wakes: ["delivery", "scheduler"],
    }),
    resume: operations.declare({
      name: "resume",
      command: ({ subsystem }) => `resume ${subsystem}`,
      plan: (request: PauseRequest) => {
        const asked = resumed(request);
        return { destination: asked.destination, changed: isPaused(asked) };
      },
      change: (request) => {
        const { subsystem, destination } = resumed(request);
        return { destination, changed: control.resume(subsystem, destination) };
      },
      audited,
      wakes: ["delivery", "scheduler"],
    }),
  };
}

/** The request with its destination as envelopes have it. Errors: `request.invalid`. */
function canonical({ subsystem, destination }: PauseRequest): PauseRequest {
  if (destination === null) return { subsystem, destination };
  if (!SUBSYSTEM_TABLE[subsystem].destinations)
    throw new MailreportError("request.invalid", {
      detail: `${subsystem} cannot be paused for one destination`,
    });
  const domain = normalizeDomain(destination);
  if (domain === undefined)
    throw new MailreportError("request.invalid", { detail: `not a domain: ${destination}` });
  return { subsystem, destination: domain };
}
