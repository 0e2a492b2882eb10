/**
 * The reader thread as built, with questions that stand still: `list` (long) and `report` (short) with an argument that has a
 * `gate` (see standing.ts) count themselves as begun and wait until the gate is opened. With `how`:
 *
 * - `checks`: it checks for cancelling while it waits, as loops over records do;
 * - `deaf`: it does not, as SQLite while it sorts;
 * - `dies`: the thread ends instead.
 */
import { parentPort, workerData } from "node:worker_threads";
import { openArchiveReader } from "../../dist/store/sqlite/archive/reader.js";
import { serveQuestions } from "../../dist/store/sqlite/archive/reader-serve.js";

serveQuestions(parentPort, workerData, (path, check) => {
  const reader = openArchiveReader(path, check);
  const stand = ({ gate, how }) => {
    const [begun, open] = [0, 1];
    const cells = new Int32Array(gate);
    Atomics.add(cells, begun, 1);
    if (how === "dies") process.exit(3);
    while (Atomics.load(cells, open) === 0) {
      if (how === "checks") check();
      Atomics.wait(cells, open, 0, 2);
    }
  };
  return {
    ...reader,
    async list(name, filter, page) {
      if (filter.gate === undefined) return reader.list(name, filter, page);
      stand(filter);
      return reader.list(name, {}, page);
    },
    async report(id) {
      if (typeof id === "string") return reader.report(id);
      stand(id);
      return undefined;
    },
  };
});
