/**
 * The writer of archive.db: a batch of mails is read and stored in one transaction. When one of them cannot be, by an
 * error of ours, nothing of it stays and each is done again for itself, so that one cannot sink the others. It lives in
 * the ingest process alone.
 */
import { errorText, MailreportError } from "../../lib/errors.ts";
import { judge, type Verdict } from "../../model/judge.ts";
import type { Reason } from "../../model/outcome.ts";
import type { MailReading } from "../../model/reading.ts";
import type { ArchiveWriter, Intake, IntakeResult, ReadMail, ReceivePolicy } from "../archive.ts";
import { makeInterner } from "./archive-intern.ts";
import { prepareMails } from "./archive-mails.ts";
import { type MailReports, makeReportArchive } from "./archive-reports.ts";
import { makeExpiry } from "./archive-retention.ts";
import { ARCHIVE_MIGRATIONS } from "./archive-schema.ts";
import { makeSums } from "./archive-sums.ts";
import { migrate } from "./migrate.ts";
import { setImmediate as turn } from "node:timers/promises";
import { guarded, openDatabase } from "./open.ts";
import { type SyncFile, WalSync } from "./wal-sync.ts";

/** After so many readings that never ended a spooled mail is set aside. */
const MOST_TRIES = 3;
/** Bytes of a mail that is read together with others. */
const SMALL_MAIL = 262_144;
/** Outcomes whose raw mail is not kept: it is there already. */
const NO_RAW = new Set(["duplicate"]);

/** An error of our own, in reading or writing; not one of the disk or the database. */
function isBug(error: unknown): boolean {
  return !(error instanceof MailreportError) || error.code === "daemon.bug";
}

/**
 * Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`.
 * @param sync how its log is made durable; fdatasync(2) unless a test has reasons
 */
export function openArchiveWriter(path: string, policy: ReceivePolicy, sync?: SyncFile): ArchiveWriter {
  const database = openDatabase(path, { cacheKiB: 24_576, checkpointPages: 4000, syncedByCaller: true });
  migrate(database, ARCHIVE_MIGRATIONS);
  const wal = new WalSync(path, sync);
  const intern = makeInterner(database);
  const sums = makeSums(database);
  const mails = prepareMails(database);
  const reports = makeReportArchive(database, intern, sums, policy);
  const expiry = makeExpiry(database, (id) => reports.remove(id));
  const begin = database.prepare("BEGIN IMMEDIATE");
  const commit = database.prepare("COMMIT");
  const rollback = database.prepare("ROLLBACK");
  const reportsOf = database.prepare<[number], number>("SELECT id FROM report WHERE mail_id = ?").pluck();

  function open(): void {
    if (wal.failed) renewLog();
    begin.run();
  }

  function settle(): void {
    sums.flush();
    commit.run();
  }

  function undo(): void {
    if (database.inTransaction) rollback.run();
    reports.undo();
    mails.undo();
    sums.clear();
  }

  /** One transaction; nothing of it stays when it throws. It is durable after the next `synced`. */
  function transaction<T>(work: () => T): T {
    return guarded(() => {
      open();
      try {
        const result = work();
        settle();
        return result;
      } catch (error) {
        undo();
        throw error;
      }
    }, "archive");
  }

  /** The same for many items, one a turn of the event loop, so that others are answered meanwhile. */
  async function transactionInTurns<T, U>(items: readonly T[], work: (item: T) => U): Promise<U[]> {
    const results: U[] = [];
    guarded(open, "archive");
    try {
      for (const item of items) {
        if (results.length > 0) await turn();
        results.push(guarded(() => work(item), "archive"));
      }
      guarded(settle, "archive");
      return results;
    } catch (error) {
      undo();
      throw error;
    }
  }

  /** A transaction; when it fails by an error of ours, another one that says so in its place. */
  function attempt<T>(work: () => T, otherwise: (error: unknown) => T): T {
    try {
      return transaction(work);
    } catch (error) {
      if (!isBug(error)) throw error;
      return transaction(() => otherwise(error));
    }
  }

  /** One transaction for all; when one of them meets an error of ours, one for each, and for that one `otherwise`. */
  async function eachOrAlone<T, U>(
    items: readonly T[],
    work: (item: T) => U,
    otherwise: (item: T, error: unknown) => U,
  ): Promise<U[]> {
    try {
      return await transactionInTurns(items, work);
    } catch (error) {
      if (!isBug(error)) throw error;
      return items.map((item) =>
        attempt(
          () => work(item),
          (found) => otherwise(item, found),
        ),
      );
    }
  }

  /** All that was committed is on disk. */
  async function synced(): Promise<void> {
    try {
      await wal.synced();
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const full = code === "ENOSPC" || code === "EDQUOT";
      throw new MailreportError(full ? "store.full" : "store.io", {
        detail: `archive: the log was not synced: ${errorText(error)}`,
        cause: error,
      });
    }
  }

  /** After a sync that failed: moves all into the database, synced, so that nothing depends on the log any more. */
  function renewLog(): void {
    const [done] = database.pragma("wal_checkpoint(TRUNCATE)") as { readonly busy: number }[];
    if (done?.busy !== 0) throw new MailreportError("store.busy", { detail: "archive: the log is in use" });
    wal.recovered();
  }

  function verdictOf(reading: MailReading, found: MailReports): Verdict {
    const verdict = judge(reading);
    if (found.refusals.size === 0 || found.reportIds.length > 0) return verdict;
    return found.refusals.has("unauthenticated")
      ? { outcome: "unauthenticated", reason: "unauthenticated", detail: null }
      : { outcome: "invalid", reason: "wrong-kind", detail: null };
  }

  interface Read {
    readonly result: IntakeResult;
    readonly verdict: Verdict;
    readonly reading: MailReading | null;
  }

  /** Reads a mail; its reports are written, its own row is the caller's matter. Throws what the reading throws. */
  function readOne(mailId: number, intake: Intake, read: ReadMail): Read {
    const found = reports.of(mailId, intake);
    const reading = read(intake.raw, intake.hints, found.sink);
    const verdict = verdictOf(reading, found);
    sums.count(`archive.outcome.${verdict.outcome}`, 1);
    const { reportIds, dsns } = found;
    const envelopeTo = dsns.length > 0 ? intake.envelopeTo : [];
    return {
      result: { mailId, ...verdict, items: reading.items, reportIds, dsns, envelopeTo },
      verdict,
      reading,
    };
  }

  /** A mail that cannot be read. */
  function failed(mailId: number, reason: Reason, detail: string): Read {
    const verdict: Verdict = { outcome: "invalid", reason, detail };
    sums.count("archive.outcome.invalid", 1);
    const nothing = { items: [], reportIds: [], dsns: [], envelopeTo: [] };
    return { result: { mailId, ...verdict, ...nothing }, verdict, reading: null };
  }

  function settled(mailId: number, { result, verdict, reading }: Read): IntakeResult {
    mails.settle(mailId, verdict, reading);
    return result;
  }

  function countMail({ auth }: Intake): void {
    sums.count("archive.mail", 1);
    if (auth.by !== null) sums.count(`archive.auth.${auth.verdict}`, 1);
  }

  function intakeOne(intake: Intake, read: ReadMail): IntakeResult {
    const mailId = mails.nextId();
    return kept(mailId, intake, readOne(mailId, intake, read));
  }

  /** A mail that is kept raw with the reason why it cannot be read. */
  function setAside(intake: Intake, reason: Reason, detail: string): IntakeResult {
    const mailId = mails.nextId();
    return kept(mailId, intake, failed(mailId, reason, detail));
  }

  function kept(mailId: number, intake: Intake, { result, verdict, reading }: Read): IntakeResult {
    mails.insertRead(mailId, intake, verdict, reading);
    if (!NO_RAW.has(result.outcome)) mails.keepRaw(mailId, intake.raw);
    countMail(intake);
    return result;
  }

  function spoolOne(intake: Intake): number {
    const mailId = mails.nextId();
    mails.insertSpooled(mailId, intake);
    mails.keepRaw(mailId, intake.raw);
    countMail(intake);
    return mailId;
  }

  /** Reads a spooled mail, of which only the raw bytes and the envelope are there. */
  function readSpooledOne(mailId: number, read: ReadMail): IntakeResult {
    const stored = mails.load(mailId);
    if (!stored) return settled(mailId, failed(mailId, "internal", "the raw mail is gone"));
    if (stored.tries > MOST_TRIES) {
      return settled(mailId, failed(mailId, "internal", `reading did not end ${MOST_TRIES} times`));
    }
    const result = settled(mailId, readOne(mailId, stored.intake, read));
    if (NO_RAW.has(result.outcome)) mails.dropRaw(mailId);
    return result;
  }

  /** The next ones that may be read together: small, and none that may have ended this process before. */
  function nextSpooled(limit: number): number[] {
    const waiting = guarded(() => mails.spooled(limit), "archive");
    const alone = waiting.findIndex(({ tries, size }) => tries > 0 || size > SMALL_MAIL);
    return waiting.slice(0, alone < 0 ? limit : Math.max(1, alone)).map(({ id }) => id);
  }

  /** Reads a mail anew; nothing when its bytes are gone. */
  function reparseOne(mailId: number, read: ReadMail): IntakeResult[] {
    const anew = (reading: (intake: Intake) => Read) => (): IntakeResult[] => {
      const stored = mails.load(mailId);
      if (!stored) return [];
      unread(mailId, stored.outcome);
      return [settled(mailId, reading(stored.intake))];
    };
    return attempt(
      anew((intake) => readOne(mailId, intake, read)),
      (error) => anew(() => failed(mailId, "internal", errorText(error)))(),
    );
  }

  /** Takes back what a mail's reading left: reports, sums and outcome. */
  function unread(mailId: number, outcome: string | null): void {
    for (const reportId of reportsOf.all(mailId)) reports.remove(reportId);
    if (outcome !== null) sums.count(`archive.outcome.${outcome}`, -1);
  }

  return {
    setPolicy: (next) => reports.setPolicy(next),

    async intake(batch, read) {
      const value = await eachOrAlone(
        batch,
        (intake) => intakeOne(intake, read),
        (intake, error) => setAside(intake, "internal", errorText(error)),
      );
      return { value, durable: synced() };
    },

    async spool(batch) {
      const value = transaction(() => batch.map(spoolOne));
      return { value, durable: synced() };
    },

    async readSpooled(read, limit) {
      const ids = nextSpooled(limit);
      if (ids.length === 0) return [];
      // a reading that kills this process must be seen by the next one
      transaction(() => ids.forEach(mails.begun));
      const results = await eachOrAlone(
        ids,
        (mailId) => readSpooledOne(mailId, read),
        (mailId, error) => settled(mailId, failed(mailId, "internal", errorText(error))),
      );
      await synced();
      return results;
    },

    async quarantine(intake, reason, detail) {
      const { mailId } = transaction(() => setAside(intake, reason, detail));
      await synced();
      return mailId;
    },

    async reparse(mailIds, read) {
      const results = mailIds.flatMap((mailId) => reparseOne(mailId, read));
      await synced();
      return results;
    },

    async expire(now, policy, rows) {
      const deleted = transaction(() => expiry.slice(now, policy, rows));
      if (deleted > 0) guarded(() => database.pragma("incremental_vacuum(256)"), "archive");
      await synced();
      return deleted;
    },

    async deleteReport(reportId) {
      const found = transaction(() => reports.remove(reportId));
      await synced();
      return found;
    },

    async backup(path) {
      const done = await database.backup(path);
      const pageSize = Number(database.pragma("page_size", { simple: true }));
      return { bytes: done.totalPages * pageSize };
    },

    async vacuum(pages) {
      return guarded(() => {
        database.pragma(`incremental_vacuum(${Math.floor(pages)})`);
        database.pragma("wal_checkpoint(PASSIVE)");
        return Number(database.pragma("freelist_count", { simple: true }));
      }, "archive");
    },

    checkpoint() {
      database.pragma("wal_checkpoint(PASSIVE)");
    },

    async close() {
      try {
        await synced();
      } finally {
        database.close();
        wal.close();
      }
    },
  };
}
