/** In place of store/sqlite/archive/writer.js: the same archive behind the delaying wrapper. */
import { openArchiveWriter as open } from "../../dist/store/sqlite/archive/writer.js?real";
import { delayed } from "./delayed-archive.js";

/** The seed of the process: each run of it delays otherwise, and a failed run can be repeated by its number. */
const SEED = process.pid;

export function openArchiveWriter(path, options) {
  return delayed(open(path, options), SEED);
}
