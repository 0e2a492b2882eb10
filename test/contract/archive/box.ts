/** What the contract suite asks of an implementation, and what its tests do with it. It knows no engine. */
import { afterEach, beforeEach } from "vitest";
import type { ReceivePolicy } from "../../../src/model/counting.ts";
import type { ArchiveListName, ArchiveRow } from "../../../src/model/lists/lists.ts";
import type { RetentionPolicy } from "../../../src/model/retention.ts";
import type {
  Accepted,
  ArchiveIntake,
  Intake,
  IntakeResult,
  NotStored,
} from "../../../src/store/archive/intake.ts";
import type { ArchiveMaintenance } from "../../../src/store/archive/maintenance.ts";
import type { ArchiveFilter, ArchiveReader } from "../../../src/store/archive/reader.ts";
import { intakeOf } from "../../support/intake.ts";
import { ParsingArchive, type Stage, stage } from "../../support/parsing-archive.ts";
import { mail } from "../../support/reading.ts";

/** An empty archive of its own for one test. */
export interface ContractArchive {
  readonly intake: ArchiveIntake;
  readonly maintenance: ArchiveMaintenance;
  readonly questions: ArchiveReader;
  /** Closes the archive in order and opens it again; the three interfaces are others afterwards. */
  reopen(): Promise<void>;
  /** Closes it and deletes all that it stored. */
  close(): Promise<void>;
}

export type MakeArchive = () => Promise<ContractArchive>;

export const DAY = 86_400;

/** A mail with these XML reports. */
export const mailWithXml = (...xml: readonly string[]): Intake =>
  intakeOf(mail(xml.map((body, i) => ({ type: "text/xml", name: `r${i}.xml`, body }))));

export class ContractBox {
  readonly #archive: ContractArchive;
  #policy: ReceivePolicy | undefined;

  constructor(archive: ContractArchive) {
    this.#archive = archive;
  }

  get put(): ArchiveIntake {
    return this.#archive.intake;
  }

  get maintenance(): ArchiveMaintenance {
    return this.#archive.maintenance;
  }

  get questions(): ArchiveReader {
    return this.#archive.questions;
  }

  get parsing(): ParsingArchive<ArchiveIntake> {
    return new ParsingArchive(this.#archive.intake, this.#policy);
  }

  /** Applies to what is parsed from now on. */
  setPolicy(policy: ReceivePolicy): void {
    this.#policy = policy;
  }

  /** Parses and stores; the results of the mails that were stored. */
  async intake(batch: readonly Intake[], staging: Stage = stage): Promise<IntakeResult[]> {
    const answers = await this.answers(batch, staging);
    return answers.flatMap((one) => ("result" in one ? [one.result] : []));
  }

  /** Parses and stores; the answers. */
  answers(batch: readonly Intake[], staging: Stage = stage): Promise<readonly (Accepted | NotStored)[]> {
    return this.parsing.intake(
      batch.map((intake) => ({ intake, parseNow: true })),
      staging,
    );
  }

  /** Stores mails that are parsed later; their numbers. */
  async spool(...batch: readonly Intake[]): Promise<number[]> {
    const answers = await this.put.put(batch.map((intake) => ({ intake, content: null })));
    return answers.flatMap((one) => ("spooled" in one && one.spooled ? [one.mailId] : []));
  }

  /** Expires in slices until nothing is left to do. */
  async expire(now: number, policy: RetentionPolicy): Promise<void> {
    while ((await this.maintenance.expire(now, policy, 10)).more);
  }

  /** Counters that are not 0. */
  async stats(): Promise<Record<string, number>> {
    return Object.fromEntries(
      Object.entries(await this.questions.stats()).filter(([, value]) => value !== 0),
    );
  }

  /** All rows of a list, a page of `limit` at a time; a list that has one page must fit into it. */
  async rows<N extends ArchiveListName>(
    name: N,
    filter: ArchiveFilter = {},
    limit = 1000,
  ): Promise<ArchiveRow<N>[]> {
    const rows: ArchiveRow<N>[] = [];
    let after: string | undefined;
    do {
      const page = await this.questions.list(name, filter, {
        limit,
        ...(after === undefined ? {} : { after }),
      });
      if (page.items.length > limit)
        throw new Error(`a page of ${page.items.length} rows, asked for ${limit}`);
      rows.push(...page.items);
      after = page.next ?? undefined;
    } while (after !== undefined);
    return rows;
  }

  /** Messages of all day sums. */
  async total(): Promise<number> {
    return (await this.rows("days")).reduce((sum, day) => sum + day.messages, 0);
  }

  /** How many records are stored. */
  async records(): Promise<number> {
    return (await this.rows("records", {}, 5000)).length;
  }

  /** Numbers of all reports, newest first, each with that of its mail. */
  async ids(): Promise<string[][]> {
    return (await this.rows("reports")).map(({ id, mail_id }) => [id, mail_id]);
  }

  reopen(): Promise<void> {
    return this.#archive.reopen();
  }
}

/** An archive before each test, closed after it. */
export function archiveForEach(make: MakeArchive): () => ContractBox {
  let archive: ContractArchive;
  let box: ContractBox;
  beforeEach(async () => {
    archive = await make();
    box = new ContractBox(archive);
  });
  afterEach(() => archive.close());
  return () => box;
}
