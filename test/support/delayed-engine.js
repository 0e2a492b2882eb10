/** In place of store/sqlite/archive/engine.js: SQLite behind the delaying wrapper, for the mail and for the questions. */
import { fileURLToPath } from "node:url";
import { ARCHIVE_ENGINE as SQLITE } from "../../dist/store/sqlite/archive/engine.js?real";
import { delayedQuestions } from "./delayed-archive.js";

export const ARCHIVE_ENGINE = {
  ingestProgram: fileURLToPath(new URL("./delayed-ingest.js", import.meta.url)),
  questions: (options) => delayedQuestions(SQLITE.questions(options), process.pid),
};
