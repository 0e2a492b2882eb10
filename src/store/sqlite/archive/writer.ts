/**
 * The writer of archive.db: a batch of mails is parsed and stored in one transaction. When a bug stops one of them, nothing
 * of the batch stays and each mail gets a transaction of its own, so that one cannot harm the others. It is used in the
 * ingest process alone.
 */
import { errorText, MailreportError } from "../../../lib/errors.ts";
import { failureOf, stackOf } from "../../../lib/supervised.ts";
import type { ReceivePolicy } from "../../../model/counting.ts";
import { type MailOutcome, mailOutcome } from "../../../model/mail-outcome.ts";
import type { Reason } from "../../../model/outcome.ts";
import type { MailReading } from "../../../model/reading.ts";
import type {
  Accepted,
  ArchiveWriter,
  Intake,
  IntakeRequest,
  IntakeResult,
  NotStored,
  ReadMail,
} from "../../archive/intake.ts";
import { type MigrationSteps, migrate } from "../migrate.ts";
import { guarded, openDatabase, type Sqlite, storeError } from "../open.ts";
import { makeAttempts } from "./attempts.ts";
import { makeInterner } from "./intern.ts";
import { prepareMails, type StoredMail } from "./mails.ts";
import type { PreviousReports } from "./remove-reports.ts";
import { type MailReports, makeReportArchive } from "./reports.ts";
import { makeExpiry } from "./retention.ts";
import { ARCHIVE_MIGRATIONS } from "./schema.ts";
import { makeSums } from "./sums.ts";
import { isBug, makeArchiveTransaction } from "./transaction.ts";

/** A spooled mail with this many attempts that did not end is set aside. */
const MOST_TRIES = 3;
/** Bytes of a mail that is parsed together with others. */
const SMALL_MAIL = 262_144;
/** The counter of mails that are stored and not parsed yet. */
const UNPARSED = "archive.unread";
/** Outcomes with which the raw mail is not kept: an equal report is stored already. */
const NO_RAW = new Set(["duplicate"]);

export interface ArchiveWriterOptions {
  /** Milliseconds, by which commits are timed. */
  readonly monotonic?: () => number;
  /** Called before the schema is migrated, which may take minutes. */
  readonly onMigrate?: (steps: MigrationSteps) => void;
}

/** Opens, and brings to the newest schema, the archive at `path`. Errors: `store.*`. */
export function openArchiveWriter(
  path: string,
  policy: ReceivePolicy,
  { monotonic = () => performance.now(), onMigrate = () => {} }: ArchiveWriterOptions = {},
): ArchiveWriter {
  const database = openDatabase(path, { cacheKiB: 24_576, checkpointPages: 4000 });
  try {
    return guarded(() => {
      migrate(database, ARCHIVE_MIGRATIONS, onMigrate);
      return build(database, policy, monotonic);
    }, path);
  } catch (error) {
    database.close();
    throw error;
  }
}

/** What became of one mail of a batch; an error: its transaction was rolled back. */
type Each<T> = T | MailreportError;

interface Parsed {
  readonly result: IntakeResult;
  readonly verdict: MailOutcome;
  readonly reading: MailReading | null;
}

function build(database: Sqlite, policy: ReceivePolicy, monotonic: () => number): ArchiveWriter {
  const intern = makeInterner(database);
  const sums = makeSums(database);
  const mails = prepareMails(database);
  const reports = makeReportArchive(database, intern, sums, policy);
  const expiry = makeExpiry(database, sums, reports.remove);
  const transaction = makeArchiveTransaction(database, {
    flush: sums.flush,
    undo() {
      reports.undo();
      mails.undo();
      sums.clear();
    },
    monotonic,
  });
  const attempts = makeAttempts(mails, transaction.run);

  /** A transaction; when a bug stops it, another one with `otherwise` in its place. */
  function attempt<T>(work: () => T, otherwise: (error: unknown) => T): T {
    try {
      return transaction.run(work);
    } catch (error) {
      if (!isBug(error)) throw error;
      return transaction.run(() => otherwise(error));
    }
  }

  /** One transaction for all items; when a bug stops it, one for each, with `otherwise` for the item that has the bug. */
  function eachOrAlone<T, U>(
    items: readonly T[],
    work: (item: T) => U,
    otherwise: (item: T, error: unknown) => U,
  ): Each<U>[] {
    try {
      return transaction.run(() => items.map(work));
    } catch (error) {
      if (!isBug(error)) throw error;
    }
    return items.map((item) => {
      try {
        return attempt(
          () => work(item),
          (found) => otherwise(item, found),
        );
      } catch (error) {
        return failureOf(error).error;
      }
    });
  }

  function outcomeOf(reading: MailReading, found: MailReports): MailOutcome {
    const verdict = mailOutcome(reading);
    if (found.refusals.size === 0 || found.reportIds.length > 0) return verdict;
    return found.refusals.has("unauthenticated")
      ? { outcome: "unauthenticated", reason: "unauthenticated", detail: null }
      : { outcome: "invalid", reason: "wrong-kind", detail: null };
  }

  /** Parses a mail and writes its reports; the caller writes the row of the mail. Throws what the parser throws. */
  function parse(mailId: number, intake: Intake, read: ReadMail, previous?: PreviousReports): Parsed {
    const found = reports.of(mailId, intake, previous);
    const reading = read(intake.raw, intake.hints, found.sink);
    const verdict = outcomeOf(reading, found);
    sums.count(`archive.outcome.${verdict.outcome}`, 1);
    const { reportIds, dsns } = found;
    const envelopeTo = dsns.length > 0 ? intake.envelopeTo : [];
    return {
      result: { mailId, ...verdict, items: reading.items, reportIds, dsns, envelopeTo },
      verdict,
      reading,
    };
  }

  function failed(mailId: number, reason: Reason, detail: string, error?: unknown): Parsed {
    sums.count("archive.outcome.invalid", 1);
    return unparsable(mailId, reason, detail, error);
  }

  /** A mail whose parser was stopped by a bug. */
  const bug = (mailId: number, error: unknown): Parsed => failed(mailId, "internal", errorText(error), error);

  function countMail({ auth }: Intake): void {
    sums.count("archive.mail", 1);
    if (auth.by !== null) sums.count(`archive.auth.${auth.verdict}`, 1);
  }

  function intakeOne(intake: Intake, read: ReadMail): IntakeResult {
    const mailId = mails.nextId();
    return kept(mailId, intake, parse(mailId, intake, read));
  }

  /** A mail that is kept raw with the reason why it cannot be parsed. */
  function setAside(intake: Intake, reasonOf: (mailId: number) => Parsed): IntakeResult {
    const mailId = mails.nextId();
    return kept(mailId, intake, reasonOf(mailId));
  }

  function kept(mailId: number, intake: Intake, { result, verdict, reading }: Parsed): IntakeResult {
    mails.insertParsed(mailId, intake, verdict, reading);
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

  /** Parses a spooled mail, of which only the raw bytes and the envelope are stored. */
  function parseSpooledOne(mailId: number, read: ReadMail): Parsed {
    if (mails.triesOf(mailId) > MOST_TRIES)
      return failed(mailId, "internal", `the process ended ${MOST_TRIES} times while it was parsed`);
    const stored = mails.load(mailId);
    if (!stored) return failed(mailId, "internal", "the raw mail is gone");
    return parse(mailId, stored.intake, read);
  }

  function settleSpooled(mailId: number, { result, verdict, reading }: Parsed): IntakeResult {
    sums.count(UNPARSED, -1);
    mails.settle(mailId, verdict, reading);
    if (NO_RAW.has(result.outcome)) mails.dropRaw(mailId);
    return result;
  }

  /** The next ones that can be parsed together: small, and none with an attempt that did not end. */
  function nextSpooled(limit: number): number[] {
    const waiting = guarded(() => mails.spooled(limit), "archive");
    const alone = waiting.findIndex(({ tries, size }) => tries > 0 || size > SMALL_MAIL);
    return waiting.slice(0, alone < 0 ? limit : Math.max(1, alone)).map(({ id }) => id);
  }

  function parseGroup(ids: readonly number[], read: ReadMail): Each<IntakeResult>[] {
    try {
      return eachOrAlone(
        ids,
        (mailId) => settleSpooled(mailId, parseSpooledOne(mailId, read)),
        (mailId, error) => settleSpooled(mailId, bug(mailId, error)),
      );
    } catch (error) {
      return ids.map(() => failureOf(error).error);
    }
  }

  /** Parses a mail again; nothing when its bytes are gone. */
  function reparseOne(
    mailId: number,
    read: ReadMail,
    onSpooled: (result: IntakeResult) => void,
  ): IntakeResult[] {
    let wasSpooled = false;
    const withStored = (work: (stored: StoredMail) => IntakeResult) => (): IntakeResult[] => {
      const stored = mails.load(mailId);
      wasSpooled = stored?.state === "spooled";
      return stored ? [work(stored)] : [];
    };
    const again = (stored: StoredMail): IntakeResult => {
      if (stored.state === "spooled") return settleSpooled(mailId, parse(mailId, stored.intake, read));
      const previous = reports.removeOfMail(mailId);
      if (stored.outcome !== null) sums.count(`archive.outcome.${stored.outcome}`, -1);
      const { result, verdict, reading } = parse(mailId, stored.intake, read, previous);
      mails.settle(mailId, verdict, reading);
      return result;
    };
    const results = attempt(withStored(again), (error) =>
      withStored(({ state }) =>
        state === "spooled"
          ? settleSpooled(mailId, bug(mailId, error))
          : unparsable(mailId, "internal", errorText(error), error).result,
      )(),
    );
    if (wasSpooled) for (const result of results) onSpooled(result);
    return results;
  }

  const unparsed = (): number => guarded(() => sums.counted(UNPARSED), "archive");

  return {
    setPolicy: (next) => reports.setPolicy(next),

    get commitMs() {
      return transaction.commitMs;
    },

    get unparsed() {
      return unparsed();
    },

    get spool() {
      const mailsLeft = unparsed();
      if (mailsLeft === 0) return { unparsed: 0, oldest: null, newest: null };
      return { unparsed: mailsLeft, ...guarded(() => mails.spoolEnds(), "archive") };
    },

    async intake(batch, read) {
      const each = eachOrAlone<IntakeRequest, Accepted>(
        batch,
        ({ intake, parseNow }) =>
          parseNow
            ? { spooled: false, result: intakeOne(intake, read) }
            : { spooled: true, mailId: spoolOne(intake) },
        ({ intake }, error) => ({ spooled: false, result: setAside(intake, (id) => bug(id, error)) }),
      );
      return each.map((one) => (one instanceof MailreportError ? notStored(one) : one));
    },

    async parseSpooled(read, limit) {
      const ids = nextSpooled(limit);
      if (ids.length === 0) return [];
      attempts.begin(ids);
      const each = parseGroup(ids, read);
      const failures = each.filter((one) => one instanceof MailreportError);
      attempts.giveBack(ids.filter((_, i) => each[i] instanceof MailreportError && !isBug(each[i])));
      const results = each.filter((one): one is IntakeResult => !(one instanceof MailreportError));
      if (results.length === 0 && failures[0]) throw failures[0];
      return results;
    },

    async quarantine(intake, reason, detail) {
      return transaction.run(() => setAside(intake, (id) => failed(id, reason, detail))).mailId;
    },

    async reparse(mailIds, read, onSpooled = () => {}) {
      return mailIds.flatMap((mailId) => reparseOne(mailId, read, onSpooled));
    },

    async expire(now, policy, rows) {
      const deleted = transaction.run(() => expiry.slice(now, policy, rows));
      if (deleted > 0) guarded(() => database.pragma("incremental_vacuum(256)"), "archive");
      return deleted;
    },

    async backup(path) {
      try {
        const { totalPages } = await database.backup(path);
        return { bytes: totalPages * Number(database.pragma("page_size", { simple: true })) };
      } catch (error) {
        if (!database.open) throw new MailreportError("daemon.stopping", { cause: error });
        throw storeError(error, path);
      }
    },

    async vacuum(pages) {
      return guarded(() => {
        database.pragma(`incremental_vacuum(${Math.floor(pages)})`);
        database.pragma("wal_checkpoint(PASSIVE)");
        return Number(database.pragma("freelist_count", { simple: true }));
      }, "archive");
    },

    checkpoint() {
      guarded(() => database.pragma("wal_checkpoint(PASSIVE)"), "archive");
    },

    close() {
      attempts.close();
      database.close();
    },
  };
}

/** The result of a mail that is not parsed. */
function unparsable(mailId: number, reason: Reason, detail: string, error?: unknown): Parsed {
  const verdict: MailOutcome = { outcome: "invalid", reason, detail };
  const nothing = { items: [], reportIds: [], dsns: [], envelopeTo: [] };
  const stack = error === undefined ? undefined : stackOf(failureOf(error));
  const result = { mailId, ...verdict, ...nothing, ...(stack === undefined ? {} : { stack }) };
  return { result, verdict, reading: null };
}

function notStored({ code, detail, message }: MailreportError): NotStored {
  return { error: { code, detail: detail ?? message } };
}
