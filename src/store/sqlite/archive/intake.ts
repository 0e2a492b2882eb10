/**
 * Stores mail: `put` and what belongs to it (store/archive/intake.ts). A batch is one transaction; when a bug stops one of
 * its mails, nothing of the batch stays and each mail gets a transaction of its own, so that one cannot harm the others.
 * Large mails are stored after the others of their batch, in steps (large-mails.ts).
 */
import { errorText, MailreportError } from "../../../lib/errors.ts";
import { failureOf, stackOf } from "../../../lib/supervised.ts";
import type { JudgedMail } from "../../../model/counting.ts";
import { type MailOutcome, mailOutcome } from "../../../model/mail-outcome.ts";
import type {
  Accepted,
  ArchiveIntake,
  Intake,
  IntakeResult,
  MailContent,
  NotStored,
  PutItem,
  StoredMail,
  Unparsable,
} from "../../archive/intake.ts";
import { guarded } from "../open.ts";
import type { Attempts } from "./attempts.ts";
import { isLarge, type LargeMails } from "./large-mails.ts";
import type { KnownMail, Mails, ParsedMail } from "./mails.ts";
import type { Before, MailReports, ReportArchive, StagedRows } from "./reports.ts";
import type { Sums } from "./sums.ts";
import { type ArchiveTransaction, isBug } from "./transaction.ts";

/** A spooled mail with this many attempts that did not end is set aside. */
const MOST_TRIES = 3;
/** Bytes of a mail that is parsed together with others. */
const SMALL_MAIL = 262_144;
/** The counter of mails that are stored and not parsed yet. */
const UNPARSED = "archive.unread";
/** Outcomes with which the raw mail is not kept: an equal report is stored already. */
const NO_RAW = new Set(["duplicate"]);

export interface IntakeParts {
  readonly mails: Mails;
  readonly reports: ReportArchive;
  readonly sums: Sums;
  readonly attempts: Attempts;
  readonly transaction: ArchiveTransaction;
  readonly largeMails: LargeMails;
  /** Rows of reports that were deleted may wait to be deleted in steps. */
  readonly sweep: () => void;
}

/** A parse result that was stored, and what the row of its mail says. */
interface Kept {
  readonly result: IntakeResult;
  readonly parsed: ParsedMail;
}

/** A mail with many rows. */
type LargeItem = PutItem & { readonly content: JudgedMail };

const isLargeItem = (item: PutItem): item is LargeItem =>
  item.content !== null && "items" in item.content && isLarge(item.content);

export function makeIntake(parts: IntakeParts): ArchiveIntake {
  const { mails, reports, sums, attempts, transaction, largeMails, sweep } = parts;
  /** Spooled mails that are being parsed. */
  const taken = new Set<number>();

  function outcomeOf(content: JudgedMail, { items, refusals, reportIds }: MailReports): MailOutcome {
    const verdict = mailOutcome({ ...content, items });
    if (refusals.size === 0 || reportIds.length > 0) return verdict;
    return refusals.has("unauthenticated")
      ? { outcome: "unauthenticated", reason: "unauthenticated", detail: null }
      : { outcome: "invalid", reason: "wrong-kind", detail: null };
  }

  /** Stores the reports of a mail; the caller writes the row of the mail. */
  function keepReports(
    mailId: number,
    mail: Omit<Intake, "raw">,
    content: JudgedMail | Unparsable,
    before: Before,
  ): Kept {
    if (!("items" in content)) {
      sums.count("archive.outcome.invalid", 1);
      return unparsable(mailId, content);
    }
    const found = reports.store(mailId, mail, content, before);
    const verdict = outcomeOf(content, found);
    sums.count(`archive.outcome.${verdict.outcome}`, 1);
    const { items, reportIds, dsns } = found;
    const envelopeTo = dsns.length > 0 ? mail.envelopeTo : [];
    return {
      result: { mailId, ...verdict, items, reportIds, dsns, envelopeTo },
      parsed: { ...verdict, headers: content.headers, items },
    };
  }

  function countMail({ auth }: Intake): void {
    sums.count("archive.mail", 1);
    if (auth.by !== null) sums.count(`archive.auth.${auth.verdict}`, 1);
  }

  function putNew(intake: Intake, content: MailContent, before: Before): Accepted {
    const mailId = mails.nextId();
    countMail(intake);
    if (content === null) {
      sums.count(UNPARSED, 1);
      mails.insertSpooled(mailId, intake);
      mails.keepRaw(mailId, intake.raw);
      return { spooled: true, mailId };
    }
    const { result, parsed } = keepReports(mailId, intake, content, before);
    const keepsRaw = !NO_RAW.has(result.outcome);
    mails.insertParsed(mailId, intake, parsed, keepsRaw);
    if (keepsRaw) mails.keepRaw(mailId, intake.raw);
    return { spooled: false, result };
  }

  function putStored(mailId: number, content: JudgedMail | Unparsable, before: Before): Accepted {
    const known = knownMail(mailId);
    return known.spooled
      ? { spooled: false, wasSpooled: true, result: settle(mailId, known, content, before) }
      : { spooled: false, result: replace(mailId, known, content, before) };
  }

  /** A stored mail. Errors: `archive.no_such_mail`. */
  function knownMail(mailId: number): KnownMail {
    const known = mails.known(mailId);
    if (!known) throw new MailreportError("archive.no_such_mail", { detail: `m${mailId}` });
    return known;
  }

  /** The result of a mail that was spooled. */
  function settle(
    mailId: number,
    { mail }: KnownMail,
    content: JudgedMail | Unparsable,
    before: Before,
  ): IntakeResult {
    const { result, parsed } = keepReports(mailId, mail, content, before);
    sums.count(UNPARSED, -1);
    mails.settle(mailId, parsed);
    if (NO_RAW.has(result.outcome)) mails.dropRaw(mailId);
    return result;
  }

  /** The result of a mail that was parsed again; one that cannot be parsed keeps what it gave before. */
  function replace(
    mailId: number,
    known: KnownMail,
    content: JudgedMail | Unparsable,
    { staged }: Before,
  ): IntakeResult {
    if (!("items" in content)) return unparsable(mailId, content).result;
    const previous = reports.removeOfMail(mailId);
    if (known.outcome !== null) sums.count(`archive.outcome.${known.outcome}`, -1);
    const { result, parsed } = keepReports(mailId, known.mail, content, {
      previous,
      ...(staged ? { staged } : {}),
    });
    mails.settle(mailId, parsed);
    return result;
  }

  function putOne(item: PutItem, staged?: StagedRows): Accepted {
    const before = staged ? { staged } : {};
    return "intake" in item
      ? putNew(item.intake, item.content, before)
      : putStored(item.mailId, item.content, before);
  }

  /** The answer for a mail by a transaction of its own; when a bug stops it, that of one that keeps the mail raw. */
  function answerFor(item: PutItem, error: unknown): Accepted | NotStored {
    if (!isBug(error)) return notStored(error);
    const content = bugOf(error);
    try {
      return transaction.run(() => putOne({ ...item, content }));
    } catch (again) {
      return notStored(again);
    }
  }

  function putAlone(item: PutItem): Accepted | NotStored {
    try {
      return transaction.run(() => putOne(item));
    } catch (error) {
      return answerFor(item, error);
    }
  }

  /** Mails in one transaction. Errors: `store.*` when none of them was stored. */
  function putTogether(batch: readonly PutItem[]): readonly (Accepted | NotStored)[] {
    if (batch.length === 0) return [];
    if (batch.length === 1) return [putAlone(batch[0]!)];
    try {
      return transaction.run(() => batch.map((item) => putOne(item)));
    } catch (error) {
      if (!isBug(error) && !isMissing(error)) throw error;
    }
    return batch.map(putAlone);
  }

  async function putLarge(item: LargeItem): Promise<Accepted | NotStored> {
    try {
      const mailId = "mailId" in item ? item.mailId : undefined;
      const { hints } =
        "intake" in item ? item.intake : guarded(() => knownMail(item.mailId), "archive").mail;
      const mail = { content: item.content, mailId, receivedAt: hints.receivedAt };
      return await largeMails.store(mail, (staged) => transaction.run(() => putOne(item, staged)));
    } catch (error) {
      return answerFor(item, error);
    }
  }

  /** First the small mails, so that they do not wait, then one large mail after the other. */
  async function putMixed(batch: readonly PutItem[]): Promise<readonly (Accepted | NotStored)[]> {
    const answers = new Map<PutItem, Accepted | NotStored>();
    const small = batch.filter((item) => !isLargeItem(item));
    try {
      for (const [i, answer] of putTogether(small).entries()) answers.set(small[i]!, answer);
    } catch (error) {
      for (const item of small) answers.set(item, notStored(error));
    }
    for (const item of batch) if (isLargeItem(item)) answers.set(item, await putLarge(item));
    return batch.map((item) => answers.get(item)!);
  }

  function untaken(limit: number) {
    const spooled = guarded(() => mails.spooled(limit + taken.size), "archive");
    return spooled.filter(({ id }) => !taken.has(id));
  }

  /** The next ones that can be parsed together: small, and none with an attempt that did not end. */
  function nextSpooled(limit: number): number[] {
    const waiting = untaken(limit);
    const alone = waiting.findIndex(({ tries, size }) => tries > 0 || size > SMALL_MAIL);
    return waiting.slice(0, alone < 0 ? limit : Math.min(limit, Math.max(1, alone))).map(({ id }) => id);
  }

  function loadSpooled(mailId: number): StoredMail {
    const setAside = (detail: string): StoredMail => ({
      mailId,
      spooled: true,
      unparsable: { reason: "internal", detail },
    });
    const tries = mails.triesOf(mailId);
    if (tries > MOST_TRIES) return setAside(`the process ended ${MOST_TRIES} times while it was parsed`);
    return loadOne(mailId, tries > 1) ?? setAside("the raw mail is gone");
  }

  function loadOne(mailId: number, attempted: boolean): StoredMail | undefined {
    const known = mails.known(mailId);
    const raw = mails.raw(mailId);
    if (!known || !raw) return undefined;
    return { mailId, spooled: known.spooled, intake: { ...known.mail, raw }, attempted };
  }

  return {
    async put(batch) {
      const answers = batch.some(isLargeItem) ? await putMixed(batch) : putTogether(batch);
      sweep();
      for (const [i, item] of batch.entries())
        if ("mailId" in item && !("error" in answers[i]!)) taken.delete(item.mailId);
      return answers;
    },
    async spool() {
      return guarded(() => {
        const unparsed = sums.counted(UNPARSED);
        if (unparsed === 0) return { unparsed, oldest: null, newest: null };
        return { unparsed, ...mails.spoolEnds() };
      }, "archive");
    },
    async isNextSuspect() {
      const [next] = untaken(1);
      return next !== undefined && next.tries > 0;
    },
    async takeSpooled(limit) {
      const ids = nextSpooled(limit);
      if (ids.length === 0) return [];
      attempts.begin(ids);
      const loaded = guarded(() => ids.map(loadSpooled), "archive");
      for (const id of ids) taken.add(id);
      return loaded;
    },
    async giveBack(mailIds) {
      for (const id of mailIds) taken.delete(id);
      attempts.giveBack(mailIds);
    },
    async load(mailId) {
      return guarded(() => loadOne(mailId, false), "archive");
    },
  };
}

const isMissing = (error: unknown): boolean =>
  error instanceof MailreportError && error.code === "archive.no_such_mail";

/** The content of a mail that a bug stopped. */
function bugOf(error: unknown): Unparsable {
  const stack = stackOf(failureOf(error));
  return { reason: "internal", detail: errorText(error), ...(stack === undefined ? {} : { stack }) };
}

/** The result of a mail that is not parsed. */
function unparsable(mailId: number, { reason, detail, stack }: Unparsable): Kept {
  const verdict: MailOutcome = { outcome: "invalid", reason, detail };
  const nothing = { items: [], reportIds: [], dsns: [], envelopeTo: [] };
  const result = { mailId, ...verdict, ...nothing, ...(stack === undefined ? {} : { stack }) };
  return { result, parsed: { ...verdict, headers: null, items: [] } };
}

function notStored(thrown: unknown): NotStored {
  const { code, detail, message } = failureOf(thrown).error;
  return { error: { code, detail: detail ?? message } };
}
