/** The ingest process with the archive behind the delaying wrapper. */
import { replaceModule } from "./replace-module.js";

replaceModule("/dist/store/sqlite/archive/writer.js", "./delayed-writer.js");
await import("../../dist/receive/ingest/child.js");
