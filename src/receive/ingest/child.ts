/** The program of the ingest process with the archive in SQLite. */
import { openArchiveWriter } from "../../store/sqlite/archive/writer.ts";
import { runIngest } from "./ingest.ts";

runIngest({ openArchive: openArchiveWriter });
