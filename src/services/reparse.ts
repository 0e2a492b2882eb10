/** Parsing stored mails again, as after an upgrade. */
import type { MailreportError } from "../lib/errors.ts";
import { failureOf } from "../lib/supervised.ts";
import type { IngestPort } from "../receive/port.ts";
import type { ArchiveFilter, ArchiveReader, ReceivedMail } from "../store/archive/reader.ts";
import type { Operation, Operations } from "./operation.ts";

/** Mails parsed again in one request to the ingest process: new mail is stored in between. */
const REPARSED_AT_ONCE = 20;
const PAGE = 500;

/** Named mails, or the mails that named reports came in; else those of an outcome, or all. */
export type ReparseRequest =
  | { readonly ids: readonly string[] }
  | { readonly outcome: NonNullable<ArchiveFilter["outcome"]> }
  | { readonly all: true };

export interface ReparseResult {
  readonly parsed: number;
  /** Number of mails by outcome; empty in a dry run. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Named ones that cannot be parsed again. */
  readonly skipped: readonly { readonly id: string; readonly code: string }[];
  /** Selected mails of which the bytes are not kept any more. */
  readonly noRaw: number;
  /** Why it ended before all were parsed. */
  readonly failure: MailreportError | null;
}

export interface ReparseOptions {
  readonly archive: Pick<ArchiveReader, "list" | "receivedMail" | "report">;
  readonly ingest: Pick<IngestPort, "reparse">;
}

export type ReparseOperation = Operation<ReparseRequest, ReparseResult>;

export function makeReparse(operations: Operations, options: ReparseOptions): ReparseOperation {
  return operations.declare({
    name: "reparse",
    plan: async (request) => {
      const result = await new Reparse(options, true).run(request);
      if (result.failure) throw result.failure;
      return result;
    },
    change: (request) => new Reparse(options, false).run(request),
    audited: ({ parsed, outcomes, noRaw }) => (parsed === 0 ? null : { parsed, outcomes, no_raw: noRaw }),
    failure: ({ failure }) => failure,
  });
}

class Reparse {
  readonly #options: ReparseOptions;
  readonly #dryRun: boolean;
  readonly #outcomes: Record<string, number> = {};
  readonly #skipped: { id: string; code: string }[] = [];
  #parsed = 0;
  #noRaw = 0;

  constructor(options: ReparseOptions, dryRun: boolean) {
    this.#options = options;
    this.#dryRun = dryRun;
  }

  async run(request: ReparseRequest): Promise<ReparseResult> {
    let failure: MailreportError | null = null;
    try {
      if ("ids" in request) for (const id of new Set(request.ids)) await this.#named(id);
      else await this.#selected("outcome" in request ? { outcome: request.outcome } : {});
    } catch (thrown) {
      failure = failureOf(thrown).error;
    }
    const [parsed, noRaw] = [this.#parsed, this.#noRaw];
    return { parsed, outcomes: this.#outcomes, skipped: this.#skipped, noRaw, failure };
  }

  async #named(id: string): Promise<void> {
    const { archive } = this.#options;
    const isReport = id.startsWith("r");
    const mailId = isReport ? (await archive.report(id))?.mail_id : id;
    const mail = mailId === undefined ? undefined : await archive.receivedMail(mailId);
    if (!mail) this.#skipped.push({ id, code: isReport ? "archive.no_such_report" : "archive.no_such_mail" });
    else if (!mail.raw_kept) this.#skipped.push({ id, code: "archive.no_raw" });
    else await this.#again([mail]);
  }

  async #selected(filter: ArchiveFilter): Promise<void> {
    let after: string | undefined;
    do {
      const page = { limit: PAGE, ...(after === undefined ? {} : { after }) };
      const found = await this.#options.archive.list("received", filter, page);
      await this.#again(found.items);
      after = found.next ?? undefined;
    } while (after !== undefined);
  }

  async #again(mails: readonly ReceivedMail[]): Promise<void> {
    const kept = mails.filter((mail) => mail.raw_kept);
    this.#noRaw += mails.length - kept.length;
    if (this.#dryRun) {
      this.#parsed += kept.length;
      return;
    }
    for (let at = 0; at < kept.length; at += REPARSED_AT_ONCE) {
      const numbers = kept.slice(at, at + REPARSED_AT_ONCE).map((mail) => Number(mail.id.slice(1)));
      for (const { outcome } of await this.#options.ingest.reparse(numbers)) {
        this.#outcomes[outcome] = (this.#outcomes[outcome] ?? 0) + 1;
        this.#parsed++;
      }
    }
  }
}
