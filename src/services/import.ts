/**
 * Importing files and mails. Each is stored and parsed before its answer; several are in progress at once, so that they
 * share commits. Answers come in order.
 */
import { type ErrorCode, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, type Supervised, supervised } from "../lib/supervised.ts";
import type { IntakeResult } from "../store/archive/intake.ts";
import type { Operation, Operations } from "./operation.ts";

/** Files in progress at once, and their bytes; one file may be larger. */
const AT_ONCE = 64;
const BYTES_AT_ONCE = 64 << 20;
/** While the ingest process has no room, an item is tried again after this; refused after `LONGEST_WAIT_MS`. */
const RETRY_MS = 100;
const LONGEST_WAIT_MS = 60_000;

/** Errors that the next item would meet as well: the import ends. */
const ENDING = new Set<ErrorCode>([
  "store.full",
  "store.io",
  "store.corrupt",
  "ingest.unavailable",
  "daemon.stopping",
]);

/** One file, or one member of a collection. */
export interface ImportItem {
  readonly file: string;
  /** Number or name inside a collection. */
  readonly member: string | null;
  readonly form: "mail" | "file";
  readonly raw: Uint8Array;
}

export interface ImportRequest {
  /**
   * Read until it ends. When it throws, the items before are answered; the import then ends with that error, after
   * `daemon.stopping` as if no more items had come.
   */
  readonly items: AsyncIterable<ImportItem>;
  /** Called for each item in order; the next answer waits for it. Must not reject. */
  readonly answer: (item: ImportItem, done: Supervised<IntakeResult>) => Promise<void>;
}

export interface ImportResult {
  readonly count: number;
  /** Number of items by outcome; `refused`: nothing was stored. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Why the import ended before its end, with an answer for each item that had begun. */
  readonly ended: MailreportError | null;
  /** What `items` threw. */
  readonly failure: MailreportError | null;
}

export type ImportOperation = Operation<ImportRequest, ImportResult>;

export interface ImportOptions {
  readonly log: Log;
  /**
   * Parses and stores one item.
   * Errors: MailreportError `store.*`, `ingest.busy`, `ingest.unavailable`, `daemon.stopping`.
   */
  readonly importOne: (item: {
    readonly raw: Uint8Array;
    readonly fileName: string | null;
    readonly form: "mail" | "file";
  }) => Promise<IntakeResult>;
  /** Resolves after `ms` milliseconds. */
  readonly wait: (ms: number) => Promise<void>;
}

export function makeImport(operations: Operations, options: ImportOptions): ImportOperation {
  return operations.declare({
    name: "import",
    plan: null,
    change: (request) => new Import(options, request).run(),
    audited: ({ count, outcomes }) => (count === (outcomes.refused ?? 0) ? null : { count, outcomes }),
    failure: ({ failure }) => failure,
  });
}

/** An item that is being imported; `done` never rejects. */
interface InProgress {
  readonly item: ImportItem;
  readonly done: Promise<Supervised<IntakeResult>>;
}

/** One import: its items, what became of them, and why it ended early. */
class Import {
  readonly #options: ImportOptions;
  readonly #request: ImportRequest;
  readonly #inProgress: InProgress[] = [];
  readonly #outcomes: Record<string, number> = {};
  #count = 0;
  #bytes = 0;
  /** Why the rest is refused. */
  #ended: MailreportError | null = null;

  constructor(options: ImportOptions, request: ImportRequest) {
    this.#options = options;
    this.#request = request;
  }

  /** Imports all items. Each that fails is answered with its error, and the next ones go on, but after `ENDING`. */
  async run(): Promise<ImportResult> {
    let failure: MailreportError | null = null;
    try {
      for await (const item of this.#request.items) {
        await this.#add(item);
        if (this.#ended) break;
      }
    } catch (thrown) {
      const { error } = failureOf(thrown);
      if (error.code === "daemon.stopping") this.#ended ??= error;
      else failure = error;
    }
    while (this.#inProgress.length > 0) await this.#answerOldest();
    return { count: this.#count, outcomes: this.#outcomes, ended: this.#ended, failure };
  }

  /** Begins an item, and answers the oldest ones while too many are in progress. */
  async #add(item: ImportItem): Promise<void> {
    this.#bytes += item.raw.length;
    this.#inProgress.push({ item, done: this.#import(item) });
    while (this.#inProgress.length > AT_ONCE || (this.#bytes > BYTES_AT_ONCE && this.#inProgress.length > 1))
      await this.#answerOldest();
  }

  async #answerOldest(): Promise<void> {
    const { item, done } = this.#inProgress.shift()!;
    const result = await done;
    this.#bytes -= item.raw.length;
    await this.#request.answer(item, result);
  }

  async #import({ file, member, form, raw }: ImportItem): Promise<Supervised<IntakeResult>> {
    const fileName = (member ?? file).replace(/^.*[/\\]/s, "");
    const { log } = this.#options;
    const done = await supervised({ log, unit: "import", fields: { file, member } }, () =>
      this.#store({ raw, fileName, form }),
    );
    const outcome = done.ok ? done.value.outcome : "refused";
    this.#outcomes[outcome] = (this.#outcomes[outcome] ?? 0) + 1;
    this.#count++;
    if (!done.ok && ENDING.has(done.failure.error.code)) this.#ended ??= done.failure.error;
    return done;
  }

  /** Stores one item; when the ingest process has no room it waits for some. */
  async #store(item: Parameters<ImportOptions["importOne"]>[0]): Promise<IntakeResult> {
    for (let waited = 0; ; waited += RETRY_MS) {
      if (this.#ended) throw this.#ended;
      try {
        return await this.#options.importOne(item);
      } catch (error) {
        const busy = error instanceof MailreportError && error.code === "ingest.busy";
        if (!busy || waited >= LONGEST_WAIT_MS) throw error;
      }
      await this.#options.wait(RETRY_MS);
    }
  }
}
