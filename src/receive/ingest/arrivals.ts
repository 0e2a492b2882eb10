/** New mails between the pipe and the archive: parsed at once, handed to the parser threads, or stored first. */
import type { IngestLimits } from "../../config/schema.ts";
import { stageSmall } from "../../format/mail/stage.ts";
import { judge, type ReceivePolicy } from "../../model/counting.ts";
import type { StagedMail } from "../../model/staged.ts";
import type { Accepted, Intake, NotStored, PutItem, Unparsable } from "../../store/archive/intake.ts";
import type { Burst } from "./burst.ts";
import { BATCH_BYTES, BATCH_MAILS, type Entry, isLarge } from "./commits.ts";
import type { Parsers } from "./parsers.ts";
import type { MailRequest } from "./protocol.ts";
import { type Turn, Turns } from "./turns.ts";
import { unparsableOf } from "./unparsable.ts";

/** A new mail, and who is told what became of it. */
export interface Arrival {
  readonly intake: Intake;
  readonly when: MailRequest["when"];
  readonly alone: boolean;
  readonly done: (answer: Accepted | NotStored) => void;
}

export interface ArrivalsOptions {
  readonly burst: Burst;
  readonly parsers: Parsers;
  readonly limits: () => IngestLimits;
  readonly policy: () => ReceivePolicy;
  /** Mails that are stored and not parsed yet. */
  readonly spooled: () => number;
  /** Stores what a parser thread made of mails. */
  readonly put: (items: readonly PutItem[]) => Promise<(Accepted | NotStored)[]>;
}

export class Arrivals {
  readonly #options: ArrivalsOptions;
  readonly #waiting: Arrival[] = [];
  /** Imported files are stored in their order: of two reports with one key the first one counts. */
  readonly #imports = new Turns();

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  add(arrival: Arrival): void {
    this.#waiting.push(arrival);
  }

  /** The mails of the next commit. Those that a parser thread has to parse first are stored by a later one. */
  take(): Entry[] {
    const { burst, parsers, spooled } = this.#options;
    const mails = this.#takeGroup();
    if (mails.length === 0) return [];
    const unparsed = spooled();
    const isFull = burst.isFull(unparsed);
    const storeFirst = burst.storeFirst(mails, unparsed);
    return mails.flatMap((mail) => {
      const { intake, when, alone, done } = mail;
      const stored: Entry = { item: { intake, content: null }, done };
      if (when === "later" || (when === "soon" && storeFirst)) return [stored];
      const mayWait = when === "now" || isFull;
      const isBehind = intake.source === "import" && this.#imports.busy;
      const here = !alone && !isBehind && !parsers.isReserved && (!mayWait || burst.isFew(mails.length));
      const content = here ? this.#parseSmall(intake) : undefined;
      if (content) return [{ item: { intake, content: this.judged(content, intake) }, done }];
      if (!mayWait) return [stored];
      void this.#parseInThread(mail);
      return [];
    });
  }

  /** By the policy of this moment. */
  judged(content: StagedMail | Unparsable, mail: Intake): NonNullable<PutItem["content"]> {
    return "items" in content ? judge(content, mail, this.#options.policy()) : content;
  }

  #takeGroup(): Arrival[] {
    let bytes = 0;
    const end = this.#waiting.findIndex(({ intake }, i) => {
      bytes += intake.raw.byteLength;
      return i === BATCH_MAILS || (i > 0 && bytes > BATCH_BYTES);
    });
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
  }

  #parseSmall({ raw, hints }: Intake): StagedMail | Unparsable | undefined {
    try {
      return stageSmall(raw, hints, this.#options.limits(), () => performance.now());
    } catch (error) {
      return unparsableOf(error);
    }
  }

  /** In its turn; the next one may share its commit, unless the mail is stored in several transactions. */
  async #put(item: PutItem, turn: Turn | undefined): Promise<(Accepted | NotStored)[]> {
    await turn?.comes;
    const putting = this.#options.put([item]);
    if (!isLarge(item)) turn?.pass();
    try {
      return await putting;
    } finally {
      turn?.pass();
      turn?.done();
    }
  }

  async #parseInThread({ intake, alone, done }: Arrival): Promise<void> {
    const turn = intake.source === "import" ? this.#imports.take() : undefined;
    const parsed = await this.#options.parsers.parse(intake.raw, intake.hints, { spooled: false, alone });
    const content = this.judged(parsed, intake);
    const [answer] = await this.#put({ intake, content }, turn);
    done(answer!);
  }
}
