/**
 * The writer of archive.db: a batch of mails is read and stored in one transaction. When one of them cannot be, by an
 * error of ours, nothing of it stays and each is done again for itself, so that one cannot sink the others. It lives in
 * the ingest process alone.
 */
import { errorText, MailreportError } from "../../../lib/errors.ts";
import { smoothed } from "../../../lib/smoothed.ts";
import { type MailOutcome, mailOutcome } from "../../../model/mail-outcome.ts";
import type { Reason } from "../../../model/outcome.ts";
import type { MailReading } from "../../../model/reading.ts";
import type {
  Accepted,
  ArchiveWriter,
  Intake,
  IntakeRequest,
  IntakeResult,
  ReadMail,
  ReceivePolicy,
} from "../../archive.ts";
import { migrate } from "../migrate.ts";
import { guarded, openDatabase } from "../open.ts";
import { makeInterner } from "./intern.ts";
import { prepareMails, type StoredMail } from "./mails.ts";
import { type MailReports, makeReportArchive } from "./reports.ts";
import { makeExpiry } from "./retention.ts";
import { ARCHIVE_MIGRATIONS } from "./schema.ts";
import { makeSums } from "./sums.ts";

/** After so many readings that never ended a spooled mail is set aside. */
const MOST_TRIES = 3;
/** Bytes of a mail that is read together with others. */
const SMALL_MAIL = 262_144;
/** The counter of mails that are stored and not read yet. */
const UNPARSED = "archive.unread";
/** Outcomes whose raw mail is not kept: it is there already. */
const NO_RAW = new Set(["duplicate"]);

/** An error of our own, in reading or writing; not one of the disk or the database. */
function isBug(error: unknown): boolean {
  return !(error instanceof MailreportError) || error.code === "daemon.bug";
}

/**
 * Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`.
 * @param monotonic milliseconds, by which commits are timed
 */
export function openArchiveWriter(
  path: string,
  policy: ReceivePolicy,
  monotonic: () => number = () => performance.now(),
): ArchiveWriter {
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
  const reportsOf = database.prepare<[number], number>("SELECT id FROM report WHERE mail_id = ?").pluck();

  let commitMs = 0;

  /** One transaction; nothing of it stays when it throws. */
  function transaction<T>(work: () => T): T {
    return guarded(() => {
      begin.run();
      try {
        const result = work();
        sums.flush();
        const begun = monotonic();
        commit.run();
        commitMs = smoothed(commitMs, monotonic() - begun);
        return result;
      } catch (error) {
        if (database.inTransaction) rollback.run();
        reports.undo();
        mails.undo();
        sums.clear();
        throw error;
      }
    }, "archive");
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
  function eachOrAlone<T, U>(
    items: readonly T[],
    work: (item: T) => U,
    otherwise: (item: T, error: unknown) => U,
  ): U[] {
    try {
      return transaction(() => items.map(work));
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

  function verdictOf(reading: MailReading, found: MailReports): MailOutcome {
    const verdict = mailOutcome(reading);
    if (found.refusals.size === 0 || found.reportIds.length > 0) return verdict;
    return found.refusals.has("unauthenticated")
      ? { outcome: "unauthenticated", reason: "unauthenticated", detail: null }
      : { outcome: "invalid", reason: "wrong-kind", detail: null };
  }

  interface Read {
    readonly result: IntakeResult;
    readonly verdict: MailOutcome;
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
    const verdict: MailOutcome = { outcome: "invalid", reason, detail };
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
    sums.count(UNPARSED, 1);
    mails.insertSpooled(mailId, intake);
    mails.keepRaw(mailId, intake.raw);
    countMail(intake);
    return mailId;
  }

  /** Reads a spooled mail, of which only the raw bytes and the envelope are there. */
  function parseSpooledOne(mailId: number, read: ReadMail): Read {
    const stored = mails.load(mailId);
    if (!stored) return failed(mailId, "internal", "the raw mail is gone");
    if (stored.tries > MOST_TRIES)
      return failed(mailId, "internal", `reading did not end ${MOST_TRIES} times`);
    return readOne(mailId, stored.intake, read);
  }

  function settledSpooled(mailId: number, reading: Read): IntakeResult {
    sums.count(UNPARSED, -1);
    const result = settled(mailId, reading);
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
      takeBack(mailId, stored);
      return [settled(mailId, reading(stored.intake))];
    };
    return attempt(
      anew((intake) => readOne(mailId, intake, read)),
      (error) => anew(() => failed(mailId, "internal", errorText(error)))(),
    );
  }

  /** Takes back what a mail's reading left: reports, sums and outcome. */
  function takeBack(mailId: number, { state, outcome }: StoredMail): void {
    for (const reportId of reportsOf.all(mailId)) reports.remove(reportId);
    if (state === "spooled") sums.count(UNPARSED, -1);
    if (outcome !== null) sums.count(`archive.outcome.${outcome}`, -1);
  }

  return {
    setPolicy: (next) => reports.setPolicy(next),

    get commitMs() {
      return commitMs;
    },

    get unparsed() {
      return guarded(() => sums.counted(UNPARSED), "archive");
    },

    async intake(batch, read) {
      return eachOrAlone<IntakeRequest, Accepted>(
        batch,
        ({ intake, parseNow }) =>
          parseNow
            ? { spooled: false, result: intakeOne(intake, read) }
            : { spooled: true, mailId: spoolOne(intake) },
        ({ intake }, error) => ({ spooled: false, result: setAside(intake, "internal", errorText(error)) }),
      );
    },

    async parseSpooled(read, limit) {
      const ids = nextSpooled(limit);
      if (ids.length === 0) return [];
      // a reading that kills this process must be seen by the next one
      transaction(() => ids.forEach(mails.begun));
      return eachOrAlone(
        ids,
        (mailId) => settledSpooled(mailId, parseSpooledOne(mailId, read)),
        (mailId, error) => settledSpooled(mailId, failed(mailId, "internal", errorText(error))),
      );
    },

    async quarantine(intake, reason, detail) {
      return transaction(() => setAside(intake, reason, detail)).mailId;
    },

    async reparse(mailIds, read) {
      return mailIds.flatMap((mailId) => reparseOne(mailId, read));
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
