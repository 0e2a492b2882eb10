/** Databases of earlier versions are opened by this one, and nothing in them is lost. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { ARCHIVE_MIGRATIONS } from "../../src/store/sqlite/archive/schema.ts";
import { openArchiveWriter } from "../../src/store/sqlite/archive/writer.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { QUEUE_MIGRATIONS } from "../../src/store/sqlite/queue/schema.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { archiveContents, queueContents } from "../data/databases/contents.js";
import { ROOT } from "../support/build.ts";

const DATABASES = join(ROOT, "test", "data", "databases");
const VERSIONS = readdirSync(DATABASES).filter((name) => statSync(join(DATABASES, name)).isDirectory());

type Contents = Record<string, unknown> & { readonly counters: Record<string, number> };

describe.each(VERSIONS)("databases of %s", (version) => {
  const folder = join(DATABASES, version);
  const before = JSON.parse(readFileSync(join(folder, "contents.json"), "utf8")) as {
    readonly archive: Contents;
    readonly queue: Contents;
  };
  let copy: string;
  beforeEach(() => {
    copy = mkdtempSync(join(tmpdir(), "migrations-"));
    for (const name of ["archive.db", "queue.db"]) copyFileSync(join(folder, name), join(copy, name));
  });
  afterEach(() => rmSync(copy, { recursive: true }));

  const schemaOf = (name: string): unknown => {
    const database = openDatabase(join(copy, name), { readonly: true });
    try {
      expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
      return database.pragma("user_version", { simple: true });
    } finally {
      database.close();
    }
  };

  it("the archive is migrated: mails, reports, records and figures are the same", async () => {
    await openArchiveWriter(join(copy, "archive.db")).close();
    expect(schemaOf("archive.db")).toBe(ARCHIVE_MIGRATIONS.length);
    const reader = openArchiveReader(join(copy, "archive.db"));
    try {
      const { counters, ...lists } = await archiveContents(reader);
      const { counters: wanted, ...same } = before.archive;
      expect(lists).toMatchObject(same);
      // the counter once told of records that had expired, too
      expect(counters).toMatchObject({ ...wanted, "archive.record": lists.records });
    } finally {
      await reader.close();
    }
  });

  it("the queue is migrated: outgoing reports, tallies, envelopes and steering are the same", () => {
    for (const _ of ["migrated", "opened again"]) {
      const queue = openQueueStore(join(copy, "queue.db"));
      try {
        expect(JSON.parse(JSON.stringify(queueContents(queue)))).toMatchObject(before.queue);
      } finally {
        queue.close();
      }
    }
    expect(schemaOf("queue.db")).toBe(QUEUE_MIGRATIONS.length);
  });
});
