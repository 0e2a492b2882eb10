/** The program of the ingest process with the archive in SQLite. */
import { openArchiveWriter } from "../../store/sqlite/archive/writer.ts";
import { makeCheckpointer } from "../../store/sqlite/checkpointer.ts";
import { runIngest } from "./ingest.ts";

runIngest({
  openArchive: (path, options) =>
    openArchiveWriter(path, {
      ...options,
      checkpointer: makeCheckpointer(path, { elapsed: () => performance.now() }),
    }),
});
