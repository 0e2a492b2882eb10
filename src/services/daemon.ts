/** The daemon itself: its state and counters, reload, stop, log level. */
import type { ErrorCode } from "../lib/errors.ts";
import type { LogLevel } from "../lib/log/log.ts";
import type { Subsystem } from "../model/subsystems.ts";
import type { Operation, Operations } from "./operation.ts";

export interface SubsystemState {
  readonly state: "running" | "paused" | "waiting";
  readonly detail: string;
}

export interface DaemonStatus {
  readonly version: string;
  readonly pid: number;
  /** Epoch seconds. */
  readonly startedAt: number;
  readonly hostname: string;
  /** Accepted mails that are not parsed yet; lists and figures do not contain their reports. */
  readonly unparsed: number;
  readonly subsystems: Readonly<Record<Subsystem, SubsystemState>>;
}

export interface ReloadAnswer {
  readonly ok: boolean;
  /** Why it was refused. */
  readonly code?: ErrorCode;
  readonly applied: readonly string[];
  readonly needsRestart: readonly string[];
  readonly problems: readonly string[];
}

export interface DaemonService {
  status(): DaemonStatus;
  stats(): Promise<Record<string, number>>;
  /** Loads the configuration again and applies it. A refusal is an answer, not an error. */
  readonly reload: Operation<undefined, ReloadAnswer>;
  /** The daemon begins to stop after the answer. */
  readonly stop: Operation<undefined, void>;
  readonly setLogLevel: Operation<LogLevel, void>;
}

export interface LifeControl {
  status(): DaemonStatus;
  stats(): Promise<Record<string, number>>;
  /** Never rejects. */
  reload(who: string, dryRun: boolean): Promise<ReloadAnswer>;
  /** Begins to stop. */
  stop(who: string): void;
  setLogLevel(level: LogLevel): void;
}

export function makeDaemonService(operations: Operations, life: LifeControl): DaemonService {
  return {
    status: () => life.status(),
    stats: () => life.stats(),
    reload: operations.declare({
      name: "reload",
      plan: (_request: undefined, { who }) => life.reload(who, true),
      change: (_request, { who }) => life.reload(who, false),
      audited: ({ ok, applied, needsRestart }) => (ok ? { applied, needs_restart: needsRestart } : null),
    }),
    stop: operations.declare({
      name: "stop",
      plan: () => undefined,
      // later: the audit entry is written and the answer is sent while everything runs
      change: (_request: undefined, { who }) => void setImmediate(() => life.stop(who)),
      audited: () => ({}),
    }),
    setLogLevel: operations.declare({
      name: "log",
      plan: () => undefined,
      change: (level: LogLevel) => life.setLogLevel(level),
      audited: (_done, level) => ({ level }),
    }),
  };
}
