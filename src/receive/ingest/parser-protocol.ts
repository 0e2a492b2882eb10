/** What the main thread of the ingest process and its parser threads say to each other. */
import type { IngestLimits } from "../../config/schema.ts";
import type { ReadHints } from "../../model/reading.ts";
import type { StagedMail } from "../../model/staged.ts";
import type { Unparsable } from "../../store/archive/intake.ts";

/** Mails that a thread parses one after the other. Their bytes are a copy for the thread. */
export interface ParseTask {
  readonly limits: IngestLimits;
  readonly mails: readonly { readonly raw: Uint8Array<ArrayBuffer>; readonly hints: ReadHints }[];
  /** Mails that turn out to be more than little work (`stageSmall`) are not parsed. */
  readonly small: boolean;
}

/** The results of a task, in its order; null: more than little work. A bug that stops the parser is the result of its mail. */
export type ParseAnswer = readonly (StagedMail | Unparsable | null)[];

/** A thread is ready once, when its program has been loaded; then each task is answered. */
export type ParserMessage = "ready" | ParseAnswer;
