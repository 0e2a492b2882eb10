/** An engine of the archive: what the daemon needs to start one. */
import type { ArchiveReader } from "./reader.ts";

export interface ArchiveEngine {
  /** The program of the ingest process, which stores mail with this engine; default: the one that stores in SQLite. */
  readonly ingestProgram?: string;
  /**
   * What answers questions about the archive at `path`; it may be asked before that is opened.
   * @param onDeath called when a thread of it ended by an error
   */
  questions(path: string, onDeath: (error: unknown) => void): ArchiveReader;
}
