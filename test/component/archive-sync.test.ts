/** What is acknowledged is on disk: the archive's log is synced behind each commit, and a failed sync is never forgotten. */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readMail } from "../../src/format/read-mail.ts";
import type { ArchiveWriter, Intake, ReadMail } from "../../src/store/archive.ts";
import { openArchiveWriter } from "../../src/store/sqlite/archive-writer.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { dmarcXml, LIMITS, mail, NOW } from "../support/reading.ts";

const read: ReadMail = (raw, hints, sink) => readMail(raw, hints, LIMITS, () => performance.now(), sink);
const carrying = (id: string): Intake => ({
  raw: mail([{ type: "text/xml", name: "r.xml", body: dmarcXml(id) }]),
  hints: { form: "mail", fileName: null, receivedAt: NOW },
  source: "smtp",
  envelopeFrom: "d@reporter.example",
  envelopeTo: ["dmarc@example.com"],
  remoteIp: null,
  remoteName: null,
  tls: null,
  auth: { verdict: "none", domain: null, dkimDomains: [], tls: "none", by: null, detail: null },
  kinds: [],
});
const failing = (code: string): Error => Object.assign(new Error(code), { code });

describe("a commit of the archive", () => {
  let directory: string;
  let path: string;
  let writer: ArchiveWriter;
  /** Syncs that were asked for and have not ended, oldest first. */
  let syncs: ((error: Error | null) => void)[];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "archive-sync-"));
    path = join(directory, "archive.db");
    syncs = [];
    const policy = {
      domains: [],
      requireAuth: { dmarc: "off", tls: "off", failure: "off", arf: "off", dsn: "off" } as const,
      countUnverified: [],
      verifies: false,
    };
    writer = openArchiveWriter(path, policy, (_, done) => syncs.push(done));
  });
  afterEach(async () => {
    const closed = writer.close().catch(() => {});
    for (const done of syncs.splice(0)) done(null);
    await closed;
    rmSync(directory, { recursive: true });
  });
  const stored = (): number => {
    const database = new Database(path, { readonly: true });
    try {
      return Number(database.prepare("SELECT count(*) FROM report").pluck().get());
    } finally {
      database.close();
    }
  };
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

  it("is made before its sync and counts after it; the next ones share one sync", async () => {
    const acknowledged: string[] = [];
    const take = async (id: string): Promise<void> => {
      const { durable } = await writer.intake([carrying(id)], read);
      void durable.then(() => acknowledged.push(id));
    };
    await take("a");
    expect([stored(), syncs.length, acknowledged]).toEqual([1, 1, []]);
    await take("b");
    await take("c");
    await turn();
    // the sync that runs began before them: it may not cover them
    expect([stored(), syncs.length, acknowledged]).toEqual([3, 1, []]);
    syncs.shift()!(null);
    await turn();
    expect([syncs.length, acknowledged]).toEqual([1, ["a"]]);
    syncs.shift()!(null);
    await turn();
    expect([syncs.length, acknowledged]).toEqual([0, ["a", "b", "c"]]);
  });

  it("is not acknowledged when its sync fails; the next one does not build upon that log", async () => {
    const first = await writer.intake([carrying("a")], read);
    syncs.shift()!(failing("EIO"));
    await expect(first.durable).rejects.toMatchObject({ code: "store.io" });
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(0);
    const again = await writer.intake([carrying("a")], read);
    syncs.shift()!(null);
    await again.durable;
    expect(again.value).toMatchObject([{ outcome: "duplicate" }]); // committed, though never acknowledged
    const database = new Database(path, { readonly: true });
    // what had not been synced is in the database itself, synced by the checkpoint
    expect(database.prepare("SELECT count(*) FROM mail").pluck().get()).toBe(2);
    database.close();
  });

  it("is refused while the log that failed is in use, and says so", async () => {
    const first = await writer.intake([carrying("a")], read);
    syncs.shift()!(failing("ENOSPC"));
    await expect(first.durable).rejects.toMatchObject({ code: "store.full" });
    const reader = new Database(path, { readonly: true });
    reader.exec("BEGIN");
    reader.prepare("SELECT count(*) FROM mail").get();
    await expect(writer.intake([carrying("b")], read)).rejects.toMatchObject({ code: "store.busy" });
    reader.exec("COMMIT");
    reader.close();
    const second = await writer.intake([carrying("b")], read);
    syncs.shift()!(null);
    await second.durable;
    expect(stored()).toBe(2);
  });
});

describe("a database whose caller does not sync", () => {
  it("syncs inside each commit, at every open, not only the first", () => {
    const directory = mkdtempSync(join(tmpdir(), "open-"));
    try {
      for (let n = 0; n < 2; n++) {
        const database = openDatabase(join(directory, "queue.db"));
        expect(database.pragma("synchronous", { simple: true })).toBe(2);
        expect(database.pragma("journal_mode", { simple: true })).toBe("wal");
        database.close();
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
