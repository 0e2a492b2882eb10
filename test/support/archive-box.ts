/** An archive of its own for one test: writer, reader, and what tests do with them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RetentionPolicy } from "../../src/model/retention.ts";
import type { Intake, IntakeResult } from "../../src/store/archive/intake.ts";
import type { ArchiveReader } from "../../src/store/archive/reader.ts";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { openDatabase, type Sqlite } from "../../src/store/sqlite/open.ts";
import { intakeOf } from "./intake.ts";
import { ParsingArchive, type Stage, stage } from "./parsing-archive.ts";
import { mail } from "./reading.ts";

/** A page that holds all of a list. */
export const ALL = { limit: 100_000 };

export const read: Stage = stage;

/** A mail with these parts of XML. */
export const mailWithXml = (...xml: string[]): Intake =>
  intakeOf(mail(xml.map((body, i) => ({ type: "text/xml", name: `r${i}.xml`, body }))));

export class ArchiveBox {
  readonly #folder: string;
  readonly path: string;
  writer: ParsingArchive;
  readonly reader: ArchiveReader;

  constructor(parent = tmpdir()) {
    this.#folder = mkdtempSync(join(parent, "archive-"));
    this.path = join(this.#folder, "archive.db");
    this.writer = ParsingArchive.open(this.path);
    this.reader = openArchiveReader(this.path);
  }

  /** Closes the writer in order and opens another one. */
  async reopen(): Promise<void> {
    await this.writer.close();
    this.writer = ParsingArchive.open(this.path);
  }

  /** Parses and stores; the results. */
  async intake(...mails: readonly Intake[]): Promise<IntakeResult[]> {
    const answers = await this.writer.intake(mails.map((intake) => ({ intake, parseNow: true })));
    return answers.flatMap((one) => ("spooled" in one && !one.spooled ? [one.result] : []));
  }

  async spool(...mails: readonly Intake[]): Promise<void> {
    await this.writer.intake(mails.map((intake) => ({ intake, parseNow: false })));
  }

  /** Runs the hourly job to its end. */
  async expire(now: number, policy: RetentionPolicy): Promise<void> {
    while ((await this.writer.writer.expire(now, policy, 10)).more);
  }

  /** Counters that are not 0. */
  async counters(): Promise<Record<string, number>> {
    return Object.fromEntries(Object.entries(await this.reader.stats()).filter(([, value]) => value !== 0));
  }

  /** Records that are stored. */
  async records(): Promise<number> {
    return (await this.reader.list("records", {}, { limit: 10_000 })).items.length;
  }

  /** Messages of all day sums. */
  async messages(): Promise<number> {
    return (await this.reader.list("days", {}, ALL)).items.reduce((sum, day) => sum + day.messages, 0);
  }

  /** Looks at the database, or changes it, behind the stores. */
  sql<T>(work: (database: Sqlite) => T): T {
    const database = openDatabase(this.path);
    try {
      return work(database);
    } finally {
      database.close();
    }
  }

  /** Keeps everybody else from writing until the returned function is called. */
  lock(): () => void {
    const database = openDatabase(this.path);
    database.exec("BEGIN IMMEDIATE");
    return () => database.close();
  }

  async remove(): Promise<void> {
    await this.reader.close();
    await this.writer.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
