/** The supervised ingest process: a real one, some of whose mails kill it. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type Config, configSchema } from "../../src/config/schema.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import { type Ingest, startIngest } from "../../src/receive/ingest/supervisor.ts";
import type { Intake } from "../../src/store/archive.ts";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { ROOT } from "../support/build.ts";
import { newFolderInMemory } from "../support/daemon.ts";
import { intakeOf } from "../support/intake.ts";
import { dmarcMail } from "../support/report-mail.js";

describe("the ingest process", () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function start(program: string): Promise<{ ingest: Ingest; path: string }> {
    const dir = newFolderInMemory(); // on a slow disk few mails are no crowd
    cleanups.push(() => rmSync(dir, { recursive: true }));
    const path = join(dir, "archive.db");
    const config = configSchema.parse({}) as unknown as Config;
    const ingest = await startIngest({ config, archive: path, log: silentLog, clock: systemClock, program });
    cleanups.push(() => ingest.stop());
    return { ingest, path };
  }

  const intake = (raw: Uint8Array, envelopeFrom: string): Intake =>
    intakeOf(raw, { source: "import", envelopeFrom, envelopeTo: [], remoteIp: null });

  it("is started again, and mails that kill it are set aside after three tries; no other is touched", async () => {
    const { ingest, path } = await start(join(ROOT, "test", "support", "fragile-ingest.js"));
    const killer = (n: number) => Buffer.from(`Subject: killer ${n}\r\n\r\nKILL-THE-READER\r\n`);
    const good = (n: number) => Buffer.from(dmarcMail({ id: `good-${n}` }));
    const mails = Array.from({ length: 40 }, (_, n) => (n % 20 === 7 ? killer(n) : good(n)));
    const results = await Promise.all(
      mails.map((raw, n) => ingest.acceptAndParse(intake(raw, `${n}@b.example`))),
    );
    expect(results.map(({ outcome }) => outcome)).toEqual(
      mails.map((_, n) => (n % 20 === 7 ? "invalid" : "imported")),
    );
    expect(ingest.stats()).toMatchObject({ "ingest.quarantined": 2, "ingest.waiting": 0 });
    expect(ingest.stats()["ingest.restarts"]).toBeLessThanOrEqual(6);
    const after = await ingest.acceptAndParse(intake(good(100), "after@b.example"));
    expect(after.outcome).toBe("imported");

    const reader = openArchiveReader(path);
    const { items } = await reader.received({}, { limit: 100 });
    expect(items).toHaveLength(41);
    const aside = items.filter((mail) => mail.outcome === "invalid");
    expect(aside.map((mail) => mail.reason)).toEqual(["internal", "internal"]);
    for (const mail of aside)
      expect(Buffer.from((await reader.rawMail(mail.id))!).toString()).toContain("KILL-THE-READER");
    expect((await reader.stats())["archive.report.dmarc"]).toBe(39);
    await reader.close();
  });

  it("killed from outside while it works loses nothing and counts nothing twice", async () => {
    const { ingest, path } = await start(join(ROOT, "dist", "receive", "ingest", "child.js"));
    const all: Promise<unknown>[] = [];
    for (let n = 0; n < 300; n++) {
      all.push(ingest.accept(intake(Buffer.from(dmarcMail({ id: `m-${n}` })), `${n}@b.example`)));
      const pid = ingest.stats()["ingest.pid"]!;
      if (n % 60 === 30 && pid > 0) process.kill(pid, "SIGKILL"); // 0 would be ourselves
      if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(all);
    await ingest.allParsed(30_000);
    const reader = openArchiveReader(path);
    expect(await reader.stats()).toMatchObject({
      "archive.report.dmarc": 300,
      "archive.record": 300,
      "archive.unread": 0,
    });
    await reader.close();
  });

  it("stores the mails of a crowd first and reads them when it is gone; whoever asks waits for that", async () => {
    const { ingest, path } = await start(join(ROOT, "dist", "receive", "ingest", "child.js"));
    expect(ingest.allParsed(30_000)).toBeUndefined();
    // one after the other is no crowd
    for (let n = 0; n < 20; n++) {
      const one = await ingest.accept(intake(Buffer.from(dmarcMail({ id: `n-${n}` })), "n@b.example"));
      expect(one.spooled).toBe(false);
    }
    const accepted = await Promise.all(
      Array.from({ length: 60 }, (_, n) =>
        ingest.accept(intake(Buffer.from(dmarcMail({ id: `m-${n}` })), `${n}@b.example`)),
      ),
    );
    expect(accepted.filter(({ spooled }) => spooled).length).toBeGreaterThan(30);
    await ingest.allParsed(30_000);
    expect(ingest.unparsed).toBe(0);
    const reader = openArchiveReader(path);
    expect(await reader.stats()).toMatchObject({ "archive.report.dmarc": 80, "archive.unread": 0 });
    const { items } = await reader.received({ outcome: "imported" }, { limit: 100 });
    expect(items).toHaveLength(80);
    expect(ingest.allParsed(30_000)).toBeUndefined();
    await reader.close();
  });

  it("does not let a question wait while reading is paused, nor longer than it may", async () => {
    const { ingest } = await start(join(ROOT, "dist", "receive", "ingest", "child.js"));
    ingest.pauseParsing(true);
    const accepted = await ingest.accept(intake(Buffer.from(dmarcMail({ id: "p" })), "p@b.example"));
    expect(accepted.spooled).toBe(true);
    expect(ingest.allParsed(30_000)).toBeUndefined();
    ingest.pauseParsing(false);
    process.kill(ingest.stats()["ingest.pid"]!, "SIGSTOP");
    await ingest.allParsed(1); // nobody reads now
    process.kill(ingest.stats()["ingest.pid"]!, "SIGCONT");
    await ingest.allParsed(30_000);
    expect(ingest.allParsed(30_000)).toBeUndefined();
  });

  it("sets stored mails aside that kill it, and reads those beside them", async () => {
    const { ingest, path } = await start(join(ROOT, "test", "support", "fragile-ingest.js"));
    ingest.pauseParsing(true);
    const mails = Array.from({ length: 20 }, (_, n) =>
      n % 10 === 3
        ? Buffer.from(`Subject: killer ${n}\r\n\r\nKILL-THE-READER\r\n`)
        : Buffer.from(dmarcMail({ id: `m-${n}` })),
    );
    await Promise.all(mails.map((raw, n) => ingest.accept(intake(raw, `${n}@b.example`))));
    ingest.pauseParsing(false);
    await ingest.allParsed(30_000);
    const reader = openArchiveReader(path);
    expect(await reader.stats()).toMatchObject({ "archive.report.dmarc": 18, "archive.unread": 0 });
    const { items } = await reader.received({ outcome: "invalid" }, { limit: 100 });
    expect(items.map((mail) => [mail.envelopeFrom, mail.reason]).sort()).toEqual([
      ["13@b.example", "internal"],
      ["3@b.example", "internal"],
    ]);
    await reader.close();
  });
});
