/** Questions to the archive that stand still until a test lets them go on; see standing-reader.js. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { ArchiveFilter, ArchiveReader } from "../../src/store/archive/reader.ts";
import { ROOT } from "./build.ts";
import { until } from "./wait.ts";

/** The program of reader threads as built. */
export const READER_PROGRAM = pathToFileURL(join(ROOT, "dist/store/sqlite/archive/reader-worker.js"));
/** The same with questions that stand still. */
export const STANDING_PROGRAM = pathToFileURL(join(ROOT, "test/support/standing-reader.js"));

export class Standing {
  readonly #gate = new SharedArrayBuffer(8);
  readonly #cells = new Int32Array(this.#gate);

  /** A long question to `reader` that stands still. */
  ask(reader: ArchiveReader, how: "checks" | "deaf" | "dies" = "checks"): Promise<readonly unknown[]> {
    const filter = { gate: this.#gate, how } as unknown as ArchiveFilter;
    const answer = reader.list("days", filter, { limit: 10 }).then(({ items }) => items);
    answer.catch(() => undefined); // a test looks at it later
    return answer;
  }

  /** A short one. */
  askShort(reader: ArchiveReader): Promise<unknown> {
    return reader.report({ gate: this.#gate, how: "checks" } as unknown as string);
  }

  /** Questions that a thread has begun with. */
  get begun(): number {
    return Atomics.load(this.#cells, 0);
  }

  /** Waits until threads have begun with that many. */
  async running(count = 1): Promise<void> {
    await until(`${count} questions to run`, () => this.begun >= count);
  }

  /** Lets all of them go on. */
  open(): void {
    Atomics.store(this.#cells, 1, 1);
    Atomics.notify(this.#cells, 1);
  }
}
