/** The messages between the daemon and the ingest process. */
import type { IngestLimits } from "../../config/schema.ts";
import type { ErrorCode } from "../../lib/errors.ts";
import { failureOf, stackOf } from "../../lib/supervised.ts";
import type { ReceivePolicy } from "../../model/counting.ts";
import type { Reason } from "../../model/outcome.ts";
import type { RetentionPolicy } from "../../model/retention.ts";
import type { Intake, IntakeResult, SpoolState } from "../../store/archive/intake.ts";

/**
 * When a mail is parsed: `now`, before it is answered; `soon`, the same unless that would keep its sender waiting
 * (burst.ts); `later`: its bytes are stored first.
 */
export type ParseWhen = "now" | "soon" | "later";

/** An intake without its bytes, which are the body of the frame. */
export type IntakeHead = Omit<Intake, "raw">;

export type Request =
  | {
      readonly op: "open";
      readonly path: string;
      readonly limits: IngestLimits;
      readonly policy: ReceivePolicy;
      readonly parsing: boolean;
    }
  | { readonly op: "configure"; readonly limits: IngestLimits; readonly policy: ReceivePolicy }
  | {
      readonly op: "intake";
      readonly head: IntakeHead;
      readonly when: ParseWhen;
      /** A process died with it: nothing else is parsed beside it. */
      readonly alone: boolean;
    }
  | { readonly op: "quarantine"; readonly head: IntakeHead; readonly reason: Reason; readonly detail: string }
  | { readonly op: "reparse"; readonly mailIds: readonly number[] }
  | { readonly op: "expire"; readonly now: number; readonly policy: RetentionPolicy; readonly rows: number }
  | { readonly op: "vacuum"; readonly pages: number }
  | { readonly op: "parsing"; readonly on: boolean }
  /** Somebody waits for spooled mail: it is parsed though there was a burst a moment ago, or an error. */
  | { readonly op: "parseNow" }
  | { readonly op: "close" };

export type RequestFrame = Request & { readonly id: number };

/** A request for one mail. */
export type MailRequest = Extract<Request, { op: "intake" }>;

/** An error as it is sent: a MailreportError has its code, a bug its stack. */
export interface WireError {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly stack?: string;
}

/** Each request is answered for itself, in any order. */
export type Reply =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | ({ readonly id: number; readonly ok: false } & WireError);

/** Sent by the ingest process on its own. */
export type Notice =
  /** The schema of the archive is migrated, which may take minutes. */
  | { readonly notice: "migrating"; readonly from: number; readonly to: number }
  /** What is spooled; sent before the answers and results that changed it. */
  | { readonly notice: "spool"; readonly spool: SpoolState }
  /** Spooled mail is being parsed, or not any longer. */
  | { readonly notice: "parsing"; readonly busy: boolean }
  /** Spooled mails were parsed, */
  | { readonly notice: "parsed"; readonly results: readonly IntakeResult[] }
  /** or could not be: they stay spooled. */
  | (WireError & { readonly notice: "parse-failed" })
  /** Other work without a request failed. */
  | (WireError & { readonly notice: "failed"; readonly unit: string });

/** Whatever was thrown, as it is sent. */
export function wireError(thrown: unknown): WireError {
  const failure = failureOf(thrown);
  const { code, detail, message } = failure.error;
  const stack = failure.bug ? stackOf(failure) : undefined;
  return { code, detail: detail ?? message, ...(stack === undefined ? {} : { stack }) };
}
