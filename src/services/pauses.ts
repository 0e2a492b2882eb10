/** Pausing and resuming subsystems, and delivery to single destinations. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { Pause } from "../model/queue.ts";
import type { Subsystem } from "../model/subsystems.ts";
import type { Operation, Operations } from "./operation.ts";

export interface PauseRequest {
  readonly subsystem: Subsystem;
  /** null = the whole subsystem; else only this destination (mta). */
  readonly destination: string | null;
}

export interface PauseResult {
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
  const audited = ({ changed }: PauseResult, { destination }: PauseRequest) =>
    changed ? { destination } : null;

  return {
    list: () => control.list(),
    pause: operations.declare({
      name: "pause",
      command: ({ subsystem }) => `pause ${subsystem}`,
      plan: (request: PauseRequest) => ({ changed: !isPaused(request) }),
      change: (request, { who, reason }) => ({
        changed: control.pause({ ...request, since: epochSeconds(clock), who, reason }),
      }),
      audited,
      wakes: ["delivery", "scheduler"],
    }),
    resume: operations.declare({
      name: "resume",
      command: ({ subsystem }) => `resume ${subsystem}`,
      plan: (request: PauseRequest) => ({ changed: isPaused(request) }),
      change: ({ subsystem, destination }) => ({ changed: control.resume(subsystem, destination) }),
      audited,
      wakes: ["delivery", "scheduler"],
    }),
  };
}
