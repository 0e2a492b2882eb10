/** The archive in SQLite as the contract suite opens it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ArchiveReader } from "../../../src/store/archive/reader.ts";
import { openArchiveReader } from "../../../src/store/sqlite/archive/reader.ts";
import { type ArchiveWriter, openArchiveWriter } from "../../../src/store/sqlite/archive/writer.ts";
import type { ContractArchive } from "./box.ts";

/** What stands between the suite and the engine; given each object that is opened. */
export interface Wrapping {
  readonly writer: (writer: ArchiveWriter) => ArchiveWriter;
  readonly questions: (reader: ArchiveReader) => ArchiveReader;
}

const PLAIN: Wrapping = { writer: (writer) => writer, questions: (reader) => reader };

export class SqliteArchive implements ContractArchive {
  readonly #folder = mkdtempSync(join(tmpdir(), "contract-"));
  readonly #wrap: Wrapping;
  #writer: ArchiveWriter;
  questions: ArchiveReader;

  constructor(wrap: Wrapping = PLAIN) {
    this.#wrap = wrap;
    this.#writer = wrap.writer(openArchiveWriter(this.#path));
    this.questions = wrap.questions(openArchiveReader(this.#path));
  }

  get #path(): string {
    return join(this.#folder, "archive.db");
  }

  get intake(): ArchiveWriter {
    return this.#writer;
  }

  get maintenance(): ArchiveWriter {
    return this.#writer;
  }

  async reopen(): Promise<void> {
    await this.#end();
    this.#writer = this.#wrap.writer(openArchiveWriter(this.#path));
    this.questions = this.#wrap.questions(openArchiveReader(this.#path));
  }

  async close(): Promise<void> {
    await this.#end();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #end(): Promise<void> {
    await this.questions.close();
    await this.#writer.close();
  }
}
