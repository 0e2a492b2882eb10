/** What the ingest process does with an open archive: intake, spooled mail, and mail that is parsed again. */
import type { IngestLimits } from "../../config/schema.ts";
import { MailreportError } from "../../lib/errors.ts";
import type { ReceivePolicy } from "../../model/counting.ts";
import type {
  Accepted,
  ArchiveIntake,
  Intake,
  IntakeResult,
  NotStored,
  SpoolState,
  Unparsable,
} from "../../store/archive/intake.ts";
import type { ArchiveMaintenance } from "../../store/archive/maintenance.ts";
import { type Arrival, Arrivals } from "./arrivals.ts";
import { Burst } from "./burst.ts";
import { Commits } from "./commits.ts";
import { KnownSpool } from "./known-spool.ts";
import { type ParseMail, reparse } from "./parse-stored.ts";
import { Parsers } from "./parsers.ts";
import { type Notice, wireError } from "./protocol.ts";
import { SpoolParsing } from "./spool.ts";

/** An archive as the ingest process uses it. */
export type IngestArchive = ArchiveIntake & ArchiveMaintenance & { close(): Promise<void> };

export interface DeskOptions {
  readonly archive: IngestArchive;
  readonly limits: IngestLimits;
  readonly policy: ReceivePolicy;
  /** Spooled mail is parsed. */
  readonly parsing: boolean;
  /** The program of a parser thread; default: the built one. */
  readonly parserProgram?: URL;
  readonly tell: (notice: Notice) => void;
  /** Messages that are sent in one piece. */
  readonly together: (send: () => void) => void;
  /** Nothing can be parsed: the process has to end. */
  readonly onBroken: (error: unknown) => void;
}

/** Buffers of a larger mail are freed at once: they would wait long for a collection. */
const LARGE_MAIL = 1 << 20;
/** Bytes outside of the heap that are not worth a collection. */
const LITTLE = 8 << 20;

export class Desk {
  readonly archive: IngestArchive;
  readonly #tell: DeskOptions["tell"];
  readonly #together: DeskOptions["together"];
  readonly #parsers: Parsers;
  readonly #commits: Commits;
  readonly #arrivals: Arrivals;
  readonly #spooled: KnownSpool;
  readonly #spool: SpoolParsing;
  readonly #burst = new Burst(() => performance.now());
  #limits: IngestLimits;
  #policy: ReceivePolicy;
  /** Results of mails that had been spooled, which are told before the spool is said to be without them. */
  readonly #results: IntakeResult[] = [];
  /** The archive could not tell what is spooled: told once. */
  #spoolFailed = false;

  constructor(options: DeskOptions) {
    const { archive, limits, policy, parsing, parserProgram, tell, together, onBroken } = options;
    this.archive = archive;
    this.#tell = tell;
    this.#limits = limits;
    this.#policy = policy;
    const program = parserProgram ? { program: parserProgram } : {};
    this.#parsers = new Parsers({ limits, onBroken, onReady: () => this.#spool.wake(), ...program });
    this.#together = together;
    this.#spooled = new KnownSpool(() => this.#askSpool());
    const spooled = (): number => this.#spooled.unparsed;
    this.#commits = new Commits({
      archive,
      arrivals: () => this.#arrivals.take(),
      onCommitted: (answers, done) => this.#committed(answers, done),
    });
    const put: Commits["put"] = (items) => this.#commits.put(items);
    this.#arrivals = new Arrivals({
      burst: this.#burst,
      parsers: this.#parsers,
      limits: () => this.#limits,
      policy: () => this.#policy,
      spooled,
      put,
    });
    this.#spool = new SpoolParsing(
      {
        archive: {
          isNextSuspect: () => archive.isNextSuspect(),
          takeSpooled: (n) => archive.takeSpooled(n),
          giveBack: (ids) => archive.giveBack(ids),
          put,
        },
        burst: this.#burst,
        parse: this.#parse,
        parsers: this.#parsers,
        spooled,
        refresh: () => this.refresh(),
        tell,
        onStored: () => setImmediate(freeBuffers),
      },
      parsing,
    );
  }

  configure(limits: IngestLimits, policy: ReceivePolicy): void {
    this.#limits = limits;
    this.#policy = policy;
    this.#parsers.configure(limits);
  }

  /** A new mail; `arrival.done` is called after its commit. */
  accept(arrival: Arrival): void {
    this.#spool.forgive();
    const large = arrival.intake.raw.byteLength > LARGE_MAIL;
    const done: Arrival["done"] = (answer) => {
      arrival.done(answer);
      if (large) setImmediate(freeBuffers); // when nothing refers to it any more
    };
    this.#arrivals.add({ ...arrival, done });
    this.#commits.wake();
  }

  /** Keeps a mail raw, with the reason why it is not parsed; its number. Errors: `store.*`. */
  async quarantine(intake: Intake, { reason, detail }: Unparsable): Promise<number> {
    const [answer] = await this.#commits.put([{ intake, content: { reason, detail } }]);
    if (answer && "error" in answer) throw new MailreportError(answer.error.code, answer.error);
    if (!answer || !("result" in answer)) throw new MailreportError("store.io");
    return answer.result.mailId;
  }

  /** Parses stored mails again. Errors: `store.*`. */
  reparse(mailIds: readonly number[]): Promise<IntakeResult[]> {
    const archive = {
      load: (id: number) => this.archive.load(id),
      put: (items: Parameters<Commits["put"]>[0]) => this.#commits.put(items),
    };
    return reparse(archive, this.#parse, mailIds);
  }

  switchParsing(on: boolean): void {
    this.#spool.switch(on);
  }

  /** Somebody waits for spooled mail. */
  parseNow(): void {
    this.#burst.end();
    this.retry();
  }

  /** Spooled mail is tried again after an error of the archive. */
  retry(): void {
    this.#spool.retry();
  }

  /** Asks what is spooled, tells it, and goes on with it. */
  async refresh(): Promise<void> {
    await this.#spooled.refresh();
    this.#tellSpool();
    setImmediate(() => this.#spool.wake());
  }

  /** The archive was able to tell what is spooled. */
  get isSpoolKnown(): boolean {
    return this.#spooled.isKnown;
  }

  /** Ends in order: what is being stored is stored, and what is being parsed stays as it was. Errors: `store.*`. */
  async close(): Promise<void> {
    await this.#parsers.close();
    await this.#commits.ended();
    try {
      await this.#spool.close();
    } finally {
      await this.archive.close();
    }
  }

  async #committed(answers: readonly (Accepted | NotStored)[], done: () => void): Promise<void> {
    for (const answer of answers) if ("wasSpooled" in answer) this.#results.push(answer.result);
    await this.#spooled.refresh();
    this.#together(() => {
      this.#tellSpool();
      done();
    });
    this.#burst.committed();
    setImmediate(() => this.#spool.wake());
  }

  #tellSpool(): void {
    if (this.#results.length > 0) this.#tell({ notice: "parsed", results: this.#results.splice(0) });
    const spool = this.#spooled.takeNews();
    if (spool) this.#tell({ notice: "spool", spool });
  }

  /** Stored mail: after new mail, and by the policy of the moment at which it is parsed. */
  readonly #parse: ParseMail = async (intake, alone) => {
    const content = await this.#parsers.parse(intake.raw, intake.hints, { spooled: true, alone });
    return this.#arrivals.judged(content, intake);
  };

  async #askSpool(): Promise<SpoolState | undefined> {
    try {
      const state = await this.archive.spool();
      this.#spoolFailed = false;
      return state;
    } catch (error) {
      if (!this.#spoolFailed) this.#tell({ notice: "failed", unit: "spool", ...wireError(error) });
      this.#spoolFailed = true;
      return undefined;
    }
  }
}

function freeBuffers(): void {
  if (process.memoryUsage().external > LITTLE) globalThis.gc?.();
}
