/**
 * Gives mail to the archive: what came during a commit shares the next one, within bounds, so that no mail waits long for the
 * others. A mail with many records is stored alone, and nobody waits for it.
 */
import type { Accepted, ArchiveIntake, NotStored, PutItem } from "../../store/archive/intake.ts";
import { wireError } from "./protocol.ts";

/** Bounds of one batch. */
export const BATCH_MAILS = 64;
export const BATCH_BYTES = 4 << 20;
/** Rows of records that are stored in about 30 ms. A mail with more is stored alone. */
const BATCH_ROWS = 8000;
/** A report itself costs about as much as this many rows. */
const REPORT_ROWS = 10;

/** One mail on its way into the archive. */
export interface Entry {
  readonly item: PutItem;
  readonly done: (answer: Accepted | NotStored) => void;
}

export interface CommitsOptions {
  readonly archive: ArchiveIntake;
  /** New mails for the batch that begins. */
  readonly arrivals: () => readonly Entry[];
  /** Called after each commit; `done` calls those of its mails. */
  readonly onCommitted: (answers: readonly (Accepted | NotStored)[], done: () => void) => Promise<void>;
}

export class Commits {
  readonly #options: CommitsOptions;
  #parsed: Entry[] = [];
  #scheduled = false;
  #committing = false;
  /** Commits that run. */
  readonly #running = new Set<Promise<void>>();

  constructor(options: CommitsOptions) {
    this.#options = options;
  }

  /** Stores what became of parsed mails; resolves after their commit. Never rejects. */
  put(items: readonly PutItem[]): Promise<(Accepted | NotStored)[]> {
    const answers = items.map(
      (item) => new Promise<Accepted | NotStored>((done) => this.#parsed.push({ item, done })),
    );
    this.wake();
    return Promise.all(answers);
  }

  /** There is something to store. The batch begins when the events that are known by then have been handled. */
  wake(): void {
    if (this.#scheduled || this.#committing) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      void this.#turn();
    });
  }

  /** Resolves when the commits that run have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  #begin(batch: readonly Entry[]): Promise<void> {
    const commit = this.#commit(batch).finally(() => this.#running.delete(commit));
    this.#running.add(commit);
    return commit;
  }

  async #turn(): Promise<void> {
    const arrivals = this.#options.arrivals();
    const { batch, large } = this.#takeParsed(BATCH_MAILS - arrivals.length);
    batch.unshift(...arrivals);
    if (batch.length + large.length === 0) return;
    this.#committing = true;
    if (batch.length > 0) await this.#begin(batch);
    this.#committing = false;
    for (const entry of large) void this.#begin([entry]);
    this.wake();
  }

  /** Parse results that fit into the batch, and those with many rows among them. */
  #takeParsed(most: number): { readonly batch: Entry[]; readonly large: Entry[] } {
    const batch: Entry[] = [];
    const large: Entry[] = [];
    let rows = 0;
    let n = 0;
    for (; n < this.#parsed.length && batch.length < most; n++) {
      const entry = this.#parsed[n]!;
      const own = rowsOf(entry.item);
      if (isLarge(entry.item)) large.push(entry);
      else if (batch.length > 0 && rows + own > BATCH_ROWS) break;
      else {
        rows += own;
        batch.push(entry);
      }
    }
    this.#parsed.splice(0, n);
    return { batch, large };
  }

  async #commit(batch: readonly Entry[]): Promise<void> {
    const { archive, onCommitted } = this.#options;
    let answers: readonly (Accepted | NotStored)[];
    try {
      answers = await archive.put(batch.map(({ item }) => item));
    } catch (error) {
      const answer = { error: wireError(error) };
      answers = batch.map(() => answer);
    }
    await onCommitted(answers, () => {
      for (const [i, { done }] of batch.entries()) done(answers[i]!);
    });
  }
}

/** Whether a mail is stored alone, beside other commits. */
export function isLarge(item: PutItem): boolean {
  return rowsOf(item) > BATCH_ROWS;
}

/** Rows that a mail adds to the archive, roughly. */
function rowsOf({ content }: PutItem): number {
  if (content === null || !("items" in content)) return 1;
  return content.items.reduce((sum, item) => {
    if (!item.ok) return sum + 1;
    const own = sum + REPORT_ROWS;
    if (item.content.kind === "dmarc") return own + item.content.records.count;
    if (item.content.kind !== "tls") return own;
    return item.content.policies.reduce((rows, { details }) => rows + 1 + details.length, own);
  }, 1);
}
