/** The engine of the archive, SQLite, as the daemon starts it. Another engine has a file like this one. */
import type { ArchiveEngine } from "../../archive/engine.ts";
import { startArchiveReader } from "./reader-client.ts";

export const ARCHIVE_ENGINE: ArchiveEngine = { questions: startArchiveReader };
