/** An engine of the archive: what the daemon needs to start one. */
import type { Clock } from "../../lib/clock.ts";
import type { MailreportError } from "../../lib/errors.ts";
import type { ArchiveQuestions } from "./reader.ts";

export interface QuestionOptions {
  /** Path of the archive; it may be asked before the archive is opened. */
  readonly path: string;
  readonly clock: Clock;
  /** A part of it ended by an error, or does not answer; it goes on. */
  readonly onProblem: (error: unknown) => void;
  /** Questions are refused because too many wait (`archive.busy`); called once until that has passed. */
  readonly onOverload?: (error: MailreportError) => void;
}

export interface ArchiveEngine {
  /** The program of the ingest process, which stores mail with this engine; default: the one that stores in SQLite. */
  readonly ingestProgram?: string;
  /** What answers questions about the archive. */
  questions(options: QuestionOptions): ArchiveQuestions;
}
