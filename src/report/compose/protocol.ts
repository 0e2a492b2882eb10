/** What the main thread and the composing thread say to each other. */
import type { ErrorCode } from "../../lib/errors.ts";
import type { Composed, ComposeJob } from "./job.ts";

export type Request = { readonly ask: "compose"; readonly job: ComposeJob } | { readonly ask: "checkpoint" };

/** The answer to the one request that the thread was given. */
export type Answer =
  | { readonly ok: true; readonly composed: Composed | null }
  | {
      readonly ok: false;
      /** Null: an error that is not in the catalogue. */
      readonly code: ErrorCode | null;
      readonly detail: string | undefined;
      readonly temporary: boolean;
      readonly stack: string | undefined;
    };
