/** What the main thread and the composing thread say to each other. */
import type { ErrorCode } from "../../lib/errors.ts";
import type { Composed, ComposeJob } from "./job.ts";

export type Task = { readonly ask: "compose"; readonly job: ComposeJob } | { readonly ask: "checkpoint" };

/** A task with its number, which the answer repeats. */
export type Request = Task & { readonly no: number };

/** The answer to the request of this number. */
export type Answer = { readonly no: number } & Result;

export type Result =
  | { readonly ok: true; readonly composed: Composed | null }
  | {
      readonly ok: false;
      /** Null: an error that is not in the catalogue. */
      readonly code: ErrorCode | null;
      readonly detail: string | undefined;
      readonly temporary: boolean;
      readonly stack: string | undefined;
    };
