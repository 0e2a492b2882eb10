/** Databases of earlier versions are opened by this one, and nothing in them is lost. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { ARCHIVE_MIGRATIONS } from "../../src/store/sqlite/archive/schema.ts";
import { openArchiveWriter } from "../../src/store/sqlite/archive/writer.ts";
import { migrate } from "../../src/store/sqlite/migrate.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { QUEUE_MIGRATIONS } from "../../src/store/sqlite/queue/schema.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { archiveContents, queueContents } from "../data/databases/contents.js";
import { ROOT } from "../support/build.ts";
import { missing } from "../support/expiring.ts";

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

  it("a migration that was interrupted left a half: it is rolled back, and the next start makes it", async () => {
    const path = join(copy, "archive.db");
    const database = openDatabase(path);
    const before = database.pragma("user_version", { simple: true });
    const last = ARCHIVE_MIGRATIONS.at(-1)!;
    const interrupted = {
      ...last,
      run() {
        throw new Error("the process ends");
      },
    };
    const steps = [...ARCHIVE_MIGRATIONS.slice(0, -1), interrupted];
    expect(() => migrate(database, steps)).toThrow("the process ends");
    const reached = Number(database.pragma("user_version", { simple: true }));
    expect(reached).toBe(ARCHIVE_MIGRATIONS.length - 1);
    expect(reached).toBeGreaterThanOrEqual(Number(before));
    database.close();
    await openArchiveWriter(path).close();
    expect(schemaOf("archive.db")).toBe(ARCHIVE_MIGRATIONS.length);
  });

  it("a long migration was not told before it began: both databases tell it, and only then change", async () => {
    const versionOf = (name: string): unknown => {
      const database = openDatabase(join(copy, name), { readonly: true });
      try {
        return database.pragma("user_version", { simple: true });
      } finally {
        database.close();
      }
    };
    const told: unknown[] = [];
    const onMigrate = (name: string) => (steps: { from: number; to: number }) => {
      expect(versionOf(name)).toBe(steps.from);
      told.push([name, steps.to]);
    };
    await openArchiveWriter(join(copy, "archive.db"), { onMigrate: onMigrate("archive.db") }).close();
    const queueAt = versionOf("queue.db");
    openQueueStore(join(copy, "queue.db"), { onMigrate: onMigrate("queue.db") }).close();
    const queue = queueAt === QUEUE_MIGRATIONS.length ? [] : [["queue.db", QUEUE_MIGRATIONS.length]];
    expect(told).toEqual([["archive.db", ARCHIVE_MIGRATIONS.length], ...queue]);
    // a new database is no migration to tell
    openQueueStore(join(copy, "new.db"), { onMigrate: onMigrate("new.db") }).close();
    expect(told).toHaveLength(1 + queue.length);
  });

  it("every row tells what expiry looks for: bytes by outcome, names by month, nothing refers to a missing row", async () => {
    await openArchiveWriter(join(copy, "archive.db")).close();
    const database = openDatabase(join(copy, "archive.db"), { readonly: true });
    const count = (sql: string): unknown => database.prepare(`SELECT count(*) FROM ${sql}`).pluck().get();
    try {
      expect(count("mail WHERE (raw > 0) <> EXISTS (SELECT 1 FROM raw WHERE mail_id = id)")).toBe(0);
      expect(count("mail WHERE (raw = 3) <> (state = 'spooled')")).toBe(0);
      expect(count("mail WHERE raw = 2")).toBeGreaterThan(0);
      for (const table of ["source", "authset", "head", "domain", "org"])
        expect(count(`${table} WHERE used = 0`), table).toBe(0);
      for (const name of ["org", "domain"])
        expect(
          count(`report JOIN ${name} ON ${name}.id = ${name}_id
            WHERE counted = 1 AND used < max(received_at, "end") / 2592000`),
        ).toBe(0);
      expect(missing(database)).toEqual([]);
    } finally {
      database.close();
    }
  });

  it("numbers of reports about a domain were counted wrongly: they are counted again", async () => {
    const path = join(copy, "archive.db");
    const pairs = "SELECT domain_id, org_id, reports FROM domain_org ORDER BY domain_id, org_id";
    const run = <T>(work: (database: ReturnType<typeof openDatabase>) => T): T => {
      const database = openDatabase(path);
      try {
        return work(database);
      } finally {
        database.close();
      }
    };
    const right = run((database) => database.prepare(pairs).all());
    expect(right.length).toBeGreaterThan(0);
    run((database) => database.exec("UPDATE domain_org SET reports = 3 - 2 * reports"));
    await openArchiveWriter(path).close();
    expect(run((database) => database.prepare(pairs).all())).toEqual(right);
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
