/** The built daemon with the archive behind the delaying wrapper. */
import { replaceModule } from "./replace-module.js";

replaceModule("/dist/store/sqlite/archive/engine.js", "./delayed-engine.js");
await import("../../dist/bin/mailreportd.js");
