/** The ingest process, but for parser threads that never become ready. */

import { runIngest } from "../../dist/receive/ingest/ingest.js";
import { openArchiveWriter } from "../../dist/store/sqlite/archive/writer.js";

runIngest({
  openArchive: openArchiveWriter,
  parserProgram: new URL("data:text/javascript,setInterval(() => {}, 1000)"),
});
