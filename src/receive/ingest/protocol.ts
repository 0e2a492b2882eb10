/** What the daemon and the ingest process say to each other. */
import type { IngestLimits } from "../../config/schema.ts";
import type { ErrorCode } from "../../lib/errors.ts";
import type { Reason } from "../../model/outcome.ts";
import type { Intake, IntakeResult, ReceivePolicy, RetentionPolicy } from "../../store/archive.ts";

/** Spooled mails that are read in one go: new mail waits for so many at most. */
export const SPOOLED_MAILS = 16;

/**
 * When a mail is read: `now`, before it is answered; `soon`, so too, unless many others wait: then its bytes are stored
 * first; `later`: its bytes are stored first.
 */
export type ReadWhen = "now" | "soon" | "later";

/** An intake without its bytes, which follow in the body of the frame. */
export type IntakeHead = Omit<Intake, "raw"> & { readonly size: number; readonly when: ReadWhen };

export type Request =
  | {
      readonly op: "open";
      readonly path: string;
      readonly limits: IngestLimits;
      readonly policy: ReceivePolicy;
      readonly reading: boolean;
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
  | { readonly op: "deleteReport"; readonly reportId: number }
  | { readonly op: "backup"; readonly path: string }
  | { readonly op: "vacuum"; readonly pages: number }
  | { readonly op: "reading"; readonly on: boolean }
  /** Somebody waits for what is unparsed: it is read though there was a crowd a moment ago. */
  | { readonly op: "parseNow" }
  | { readonly op: "close" };

export type RequestFrame = Request & { readonly id: number };

export type Reply =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly id: number; readonly ok: false; readonly code: ErrorCode; readonly detail: string };

/** Sent by the ingest process on its own: spooled mails are being read, or were; `read` with none of them: no more are left. */
export type Notice =
  | { readonly notice: "reading" }
  | { readonly notice: "read"; readonly results: readonly IntakeResult[] }
  | { readonly notice: "read-failed"; readonly code: ErrorCode; readonly detail: string };

/** Puts the bytes back to their heads. */
export function joinIntakes(heads: readonly IntakeHead[], body: Uint8Array): Intake[] {
  let at = 0;
  return heads.map(({ size, when: _, ...head }) => {
    const raw = body.subarray(at, at + size);
    at += size;
    return { ...head, raw };
  });
}

export function headOf({ raw, ...head }: Intake, when: ReadWhen): IntakeHead {
  return { ...head, size: raw.byteLength, when };
}
