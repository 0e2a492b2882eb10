/** An archive that parses what it is given, as the ingest process does, without a process. */
import { stageMail } from "../../src/format/mail/stage.ts";
import { errorText } from "../../src/lib/errors.ts";
import { judge, type ReceivePolicy } from "../../src/model/counting.ts";
import type { ReadHints } from "../../src/model/reading.ts";
import type { StagedMail } from "../../src/model/staged.ts";
import { type ParseMail, parseSpooled, reparse } from "../../src/receive/ingest/parse-stored.ts";
import type {
  Accepted,
  ArchiveIntake,
  Intake,
  IntakeResult,
  NotStored,
} from "../../src/store/archive/intake.ts";
import { type ArchiveWriter, openArchiveWriter } from "../../src/store/sqlite/archive/writer.ts";
import { POLICY } from "./intake.ts";
import { LIMITS } from "./reading.ts";

/** Parses one mail. */
export type Stage = (raw: Uint8Array, hints: ReadHints) => StagedMail;

export const stage: Stage = (raw, hints) => stageMail(raw, hints, LIMITS, () => performance.now());

export class ParsingArchive<W extends ArchiveIntake & { close?(): Promise<void> } = ArchiveWriter> {
  readonly writer: W;
  #policy: ReceivePolicy;

  constructor(writer: W, policy: ReceivePolicy = POLICY) {
    this.writer = writer;
    this.#policy = policy;
  }

  static open(path: string, policy: ReceivePolicy = POLICY): ParsingArchive {
    return new ParsingArchive(openArchiveWriter(path), policy);
  }

  /** Applies to what is parsed from now on. */
  setPolicy(policy: ReceivePolicy): void {
    this.#policy = policy;
  }

  /** As the ingest process does: a bug in the parser is the result of the mail. */
  parser(staging: Stage): ParseMail {
    return async (intake) => {
      try {
        return judge(staging(intake.raw, intake.hints), intake, this.#policy);
      } catch (error) {
        return { reason: "internal", detail: errorText(error), stack: String((error as Error).stack) };
      }
    };
  }

  /** Stores a batch; `parseNow` false: spools it. */
  async intake(
    batch: readonly { readonly intake: Intake; readonly parseNow: boolean }[],
    staging: Stage = stage,
  ): Promise<readonly (Accepted | NotStored)[]> {
    const parse = this.parser(staging);
    const items = batch.map(async ({ intake, parseNow }) => ({
      intake,
      content: parseNow ? await parse(intake, false) : null,
    }));
    return this.writer.put(await Promise.all(items));
  }

  parseSpooled(staging: Stage, limit: number): Promise<IntakeResult[]> {
    return parseSpooled(this.writer, this.parser(staging), limit);
  }

  reparse(
    mailIds: readonly number[],
    staging: Stage = stage,
    onSpooled?: (result: IntakeResult) => void,
  ): Promise<IntakeResult[]> {
    return reparse(this.writer, this.parser(staging), mailIds, onSpooled);
  }

  async unparsed(): Promise<number> {
    return (await this.writer.spool()).unparsed;
  }

  async close(): Promise<void> {
    await this.writer.close?.();
  }
}
