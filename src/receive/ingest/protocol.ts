/** The messages between the daemon and the ingest process. */
import type { IngestLimits } from "../../config/schema.ts";
import type { ErrorCode } from "../../lib/errors.ts";
import type { ReceivePolicy } from "../../model/counting.ts";
import type { Reason } from "../../model/outcome.ts";
import type { RetentionPolicy } from "../../model/retention.ts";
import type { Intake, IntakeResult, SpoolState } from "../../store/archive/intake.ts";

/** The most spooled mails that are parsed together: new mail waits until they are. */
export const SPOOLED_MAILS = 16;

/**
 * When a mail is parsed: `now`, before it is answered; `soon`, the same, but in a burst its bytes are stored first;
 * `later`: its bytes are stored first.
 */
export type ParseWhen = "now" | "soon" | "later";

/** An intake without its bytes, which follow in the body of the frame. */
export type IntakeHead = Omit<Intake, "raw"> & { readonly size: number; readonly when: ParseWhen };

export type Request =
  | {
      readonly op: "open";
      readonly path: string;
      readonly limits: IngestLimits;
      readonly policy: ReceivePolicy;
      readonly parsing: boolean;
    }
  | { readonly op: "configure"; readonly limits: IngestLimits; readonly policy: ReceivePolicy }
  | { readonly op: "intake"; readonly heads: readonly IntakeHead[] }
  | {
      readonly op: "quarantine";
      readonly heads: readonly IntakeHead[];
      readonly reason: Reason;
      readonly detail: string;
    }
  | { readonly op: "reparse"; readonly mailIds: readonly number[] }
  | { readonly op: "expire"; readonly now: number; readonly policy: RetentionPolicy; readonly rows: number }
  | { readonly op: "vacuum"; readonly pages: number }
  | { readonly op: "parsing"; readonly on: boolean }
  /** Somebody waits for spooled mail: it is parsed though there was a burst a moment ago, or an error. */
  | { readonly op: "parseNow" }
  | { readonly op: "close" };

export type RequestFrame = Request & { readonly id: number };

/** An error as it is sent: a MailreportError has its code, a bug its stack. */
export interface WireError {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly stack?: string;
}

/** The state of the spool after what the message tells; absent when the archive could not be asked. */
interface WithSpool {
  readonly spool?: SpoolState;
}

export type Reply = WithSpool &
  (
    | { readonly id: number; readonly ok: true; readonly value: unknown }
    | ({ readonly id: number; readonly ok: false } & WireError)
  );

/** Sent by the ingest process on its own. */
export type Notice =
  /** The schema of the archive is migrated, which may take minutes. */
  | { readonly notice: "migrating"; readonly from: number; readonly to: number }
  /** Spooled mails are being parsed, */
  | { readonly notice: "parsing" }
  /** were parsed, */
  | (WithSpool & { readonly notice: "parsed"; readonly results: readonly IntakeResult[] })
  /** or could not be: they stay spooled. */
  | (WithSpool & WireError & { readonly notice: "parse-failed" })
  /** Other work without a request failed. */
  | (WireError & { readonly notice: "failed"; readonly unit: string });

/** Puts the bytes back to their heads. */
export function joinIntakes(heads: readonly IntakeHead[], body: Uint8Array): Intake[] {
  let at = 0;
  return heads.map(({ size, when: _, ...head }) => {
    const raw = body.subarray(at, at + size);
    at += size;
    return { ...head, raw };
  });
}

export function headOf({ raw, ...head }: Intake, when: ParseWhen): IntakeHead {
  return { ...head, size: raw.byteLength, when };
}
