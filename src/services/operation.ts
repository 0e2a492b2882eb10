/**
 * Operations: everything that changes something on request of an operator, a signal or a job. An operation declares
 * what it would change and how it changes it; dry run, waking, the audit entry and the error boundary are here, once.
 */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { MailreportError } from "../lib/errors.ts";
import type { Log, LogFields } from "../lib/log/log.ts";
import { failureOf, logFailure } from "../lib/supervised.ts";
import type { DaemonEventSink } from "../model/events.ts";
import type { QueueStore } from "../store/queue.ts";

/** Who asks for a change, and why. */
export interface Caller {
  /** `control socket`, `command line`, `signal`, `job NAME`, or the user of an HTTP API. */
  readonly who: string;
  /** As given by the caller; null without one. */
  readonly reason: string | null;
}

/** What works by a due time and looks again when it is woken. */
export type Wakeable = "delivery" | "scheduler";

/** An operation as routes, signals and jobs call it. */
export interface Operation<Request, Result, Plan = Result> {
  readonly name: string;
  /** Makes the change. Errors: MailreportError; a value of any other kind that was thrown is its cause. */
  run(request: Request, caller: Caller): Promise<Result>;
  /** What `run` would change now; changes nothing. Errors: those of `run`; `request.invalid` where there is none. */
  dryRun(request: Request, caller: Caller): Promise<Plan>;
}

export interface Definition<Request, Result, Plan> {
  /** Unique. The audit entry has it as its command. */
  readonly name: string;
  /** The command of the audit entry, where it depends on the request. */
  readonly command?: (request: Request) => string;
  /** What would be changed; must change nothing. null: there is no dry run. */
  readonly plan: ((request: Request, caller: Caller) => Plan | Promise<Plan>) | null;
  readonly change: (request: Request, caller: Caller) => Result | Promise<Result>;
  /** What the audit entry tells about a change; null when nothing was changed. */
  readonly audited: (result: Result, request: Request) => LogFields | null;
  /** Why a change that is made in parts ended before its end: thrown after the parts were audited. */
  readonly failure?: (result: Result) => MailreportError | null;
  /** What may have something to do after a change. */
  readonly wakes?: readonly Wakeable[];
}

export interface OperationsOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly events: DaemonEventSink;
  /** Writes an entry of the audit table. */
  readonly audit: QueueStore["audit"];
  readonly wake: (part: Wakeable) => void;
}

/** Declares operations and runs them. */
export class Operations {
  readonly #options: OperationsOptions;
  readonly #names = new Set<string>();

  constructor(options: OperationsOptions) {
    this.#options = options;
  }

  /** Names of all operations that were declared. */
  get names(): readonly string[] {
    return [...this.#names];
  }

  /** Throws TypeError for a name that another operation has: a bug. */
  declare<Request, Result, Plan = Result>(
    definition: Definition<Request, Result, Plan>,
  ): Operation<Request, Result, Plan> {
    const { name, plan } = definition;
    if (this.#names.has(name)) throw new TypeError(`two operations are named ${name}`);
    this.#names.add(name);
    return {
      name,
      run: (request, caller) => this.#run(definition, request, caller),
      dryRun: async (request, caller) => {
        if (!plan) throw new MailreportError("request.invalid", { detail: `${name} has no dry run` });
        return known(() => plan(request, caller));
      },
    };
  }

  async #run<Request, Result, Plan>(
    definition: Definition<Request, Result, Plan>,
    request: Request,
    caller: Caller,
  ): Promise<Result> {
    const { change, failure, wakes = [] } = definition;
    let result: Result;
    try {
      result = await known(() => change(request, caller));
    } finally {
      // a change that failed may have been made in part
      for (const part of wakes) this.#afterwards("waking", { part }, () => this.#options.wake(part));
    }
    const command = definition.command?.(request) ?? definition.name;
    this.#afterwards("audit", { command, who: caller.who }, () => {
      const detail = definition.audited(result, request);
      if (detail !== null) this.#audit(command, detail, caller);
    });
    const failed = failure?.(result) ?? null;
    if (failed) throw failed;
    return result;
  }

  /** The log line and the entry of the audit table. Errors: those of the store. */
  #audit(command: string, detail: LogFields, { who, reason }: Caller): void {
    const { events, clock, audit } = this.#options;
    const entry = { ...detail, reason };
    events.emit("control.changed", { command, who, detail: entry });
    audit({ at: epochSeconds(clock), who, command, detail: JSON.stringify(entry) });
  }

  /** What follows a change: the change is made, and must not be told as failed. Only a broken store is an error. */
  #afterwards(unit: string, fields: LogFields, work: () => void): void {
    try {
      work();
    } catch (error) {
      const failed = failureOf(error);
      if (failed.error.code === "store.not_durable") throw error;
      logFailure({ log: this.#options.log, unit, fields }, failed);
    }
  }
}

/** Runs a part of an operation; what it throws gets its place in the catalogue of errors. Whoever called logs it. */
async function known<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw failureOf(error).error;
  }
}

/** Runs an operation, or with `dryRun` only tells what it would change. */
export function perform<Request, Result, Plan>(
  operation: Operation<Request, Result, Plan>,
  request: Request,
  caller: Caller,
  dryRun: boolean,
): Promise<Result | Plan> {
  return dryRun ? operation.dryRun(request, caller) : operation.run(request, caller);
}
