/**
 * The writer of archive.db: a batch of mails is read and stored in one transaction, a savepoint a mail, so that one
 * cannot sink the others. It lives in the ingest process alone.
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
import { guarded, openDatabase, storeError } from "./open.ts";

/** After so many readings that never ended a spooled mail is set aside. */
const MOST_TRIES = 3;
/** Outcomes whose raw mail is not kept: it is there already. */
const NO_RAW = new Set(["duplicate"]);

/** Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`. */
export function openArchiveWriter(path: string, policy: ReceivePolicy): ArchiveWriter {
  const database = openDatabase(path, { cacheKiB: 24_576, checkpointPages: 4000 });
  migrate(database, ARCHIVE_MIGRATIONS);
  const intern = makeInterner(database);
  const sums = makeSums(database);
  const mails = prepareMails(database);
  const reports = makeReportArchive(database, intern, sums, policy);
  const expiry = makeExpiry(database, (id) => reports.remove(id));
  const begin = database.prepare("BEGIN IMMEDIATE");
  const commit = database.prepare("COMMIT");
  const rollback = database.prepare("ROLLBACK");
  const savepoint = database.prepare("SAVEPOINT mail");
  const release = database.prepare("RELEASE mail");
  const rollbackTo = database.prepare("ROLLBACK TO mail");
  const reportsOf = database.prepare<[number], number>("SELECT id FROM report WHERE mail_id = ?").pluck();

  /** One transaction; nothing of it stays when it throws. */
  function transaction<T>(work: () => T): T {
    return guarded(() => {
      begin.run();
      try {
        const result = work();
        sums.flush();
        commit.run();
        return result;
      } catch (error) {
        reports.clear();
        sums.restore(new Map());
        if (database.inTransaction) rollback.run();
        throw error;
      }
    }, "archive");
  }

  /** Runs `work` in a savepoint; an error of ours in it leaves nothing behind but the error. */
  function isolated<T>(
    work: () => T,
  ): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown } {
    const mark = sums.mark();
    savepoint.run();
    try {
      const value = work();
      release.run();
      return { ok: true, value };
    } catch (error) {
      const stored = storeError(error, "archive");
      if (stored instanceof MailreportError) throw stored; // the database itself fails: the whole batch does
      rollbackTo.run();
      release.run();
      sums.restore(mark);
      reports.clear();
      return { ok: false, error };
    }
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

  /** Reads a mail; its reports are written, its own row is the caller's matter. */
  function readOne(mailId: number, intake: Intake, read: ReadMail): Read {
    const attempt = isolated(() => {
      const found = reports.of(mailId, intake);
      return { found, reading: read(intake.raw, intake.hints, found.sink) };
    });
    if (!attempt.ok) return failed(mailId, "internal", errorText(attempt.error));
    const { found, reading } = attempt.value;
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

  /** Reads a mail whose row stands already, and settles it. */
  function readStored(mailId: number, intake: Intake, read: ReadMail): IntakeResult {
    return settled(mailId, readOne(mailId, intake, read));
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
    const { result, verdict, reading } = readOne(mailId, intake, read);
    mails.insertRead(mailId, intake, verdict, reading);
    if (!NO_RAW.has(result.outcome)) mails.keepRaw(mailId, intake.raw);
    countMail(intake);
    return result;
  }

  /** Takes back what a mail's reading left: reports, sums and outcome. */
  function unread(mailId: number, outcome: string | null): void {
    for (const reportId of reportsOf.all(mailId)) reports.remove(reportId);
    if (outcome !== null) sums.count(`archive.outcome.${outcome}`, -1);
  }

  return {
    setPolicy: (next) => reports.setPolicy(next),

    async intake(batch, read) {
      return transaction(() => batch.map((intake) => intakeOne(intake, read)));
    },

    async spool(batch) {
      return transaction(() =>
        batch.map((intake) => {
          const mailId = mails.nextId();
          mails.insertSpooled(mailId, intake);
          mails.keepRaw(mailId, intake.raw);
          countMail(intake);
          return mailId;
        }),
      );
    },

    async readSpooled(read, limit) {
      const results: IntakeResult[] = [];
      for (const mailId of guarded(() => mails.spooled(limit), "archive")) {
        // a reading that kills this process must be seen by the next one
        transaction(() => mails.begun(mailId));
        results.push(
          transaction(() => {
            const stored = mails.load(mailId);
            if (!stored) return settled(mailId, failed(mailId, "internal", "the raw mail is gone"));
            if (stored.tries > MOST_TRIES) {
              return settled(mailId, failed(mailId, "internal", `reading did not end ${MOST_TRIES} times`));
            }
            const result = readStored(mailId, stored.intake, read);
            if (NO_RAW.has(result.outcome)) mails.dropRaw(mailId);
            return result;
          }),
        );
      }
      return results;
    },

    async quarantine(intake, reason, detail) {
      return transaction(() => {
        const mailId = mails.nextId();
        const { verdict } = failed(mailId, reason, detail);
        mails.insertRead(mailId, intake, verdict, null);
        mails.keepRaw(mailId, intake.raw);
        countMail(intake);
        return mailId;
      });
    },

    async reparse(mailIds, read) {
      return mailIds.flatMap((mailId) =>
        transaction(() => {
          const stored = mails.load(mailId);
          if (!stored) return [];
          unread(mailId, stored.outcome);
          return [readStored(mailId, stored.intake, read)];
        }),
      );
    },

    async expire(now, policy, rows) {
      const deleted = transaction(() => expiry.slice(now, policy, rows));
      if (deleted > 0) guarded(() => database.pragma("incremental_vacuum(256)"), "archive");
      return deleted;
    },

    async deleteReport(reportId) {
      return transaction(() => reports.remove(reportId));
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

    close() {
      database.close();
    },
  };
}
