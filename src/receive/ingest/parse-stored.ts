/** Parses mail that is stored already: spooled mail, and mail that is to be parsed again. */
import { MailreportError } from "../../lib/errors.ts";
import type { JudgedMail } from "../../model/counting.ts";
import type {
  Accepted,
  ArchiveIntake,
  Intake,
  IntakeResult,
  NotStored,
  PutItem,
  StoredMail,
  Unparsable,
} from "../../store/archive/intake.ts";

/**
 * Parses one mail; a bug that stops the parser is its result.
 * @param alone nothing else is parsed beside it: an attempt to parse it did not end
 */
export type ParseMail = (intake: Intake, alone: boolean) => Promise<JudgedMail | Unparsable>;

async function itemOf(mail: StoredMail, parse: ParseMail): Promise<PutItem> {
  const content = "unparsable" in mail ? mail.unparsable : await parse(mail.intake, mail.attempted);
  return { mailId: mail.mailId, content };
}

/** Of mails that were spooled until now; one that a request parsed meanwhile had its result there. */
function resultsOf(answers: readonly (Accepted | NotStored)[]): IntakeResult[] {
  return answers.flatMap((answer) => ("wasSpooled" in answer ? [answer.result] : []));
}

function errorOf({ error: { code, detail } }: NotStored): MailreportError {
  return new MailreportError(code, { detail });
}

/**
 * Parses spooled mails that were taken. Errors: `store.*` when none of them could be stored; they stay spooled.
 */
export async function parseTaken(
  archive: Pick<ArchiveIntake, "put" | "giveBack">,
  parse: ParseMail,
  mails: readonly StoredMail[],
): Promise<IntakeResult[]> {
  const ids = mails.map(({ mailId }) => mailId);
  let answers: readonly (Accepted | NotStored)[];
  try {
    answers = await archive.put(await Promise.all(mails.map((mail) => itemOf(mail, parse))));
  } catch (error) {
    await archive.giveBack(ids);
    throw error;
  }
  const failed = answers.find((answer) => "error" in answer);
  if (!failed) return resultsOf(answers);
  await archive.giveBack(ids.filter((_, i) => "error" in answers[i]!));
  if (answers.every((answer) => "error" in answer)) throw errorOf(failed);
  return resultsOf(answers);
}

/** Takes and parses the next spooled mails, at most `limit`; empty: none is spooled. Errors: those of `parseTaken`. */
export async function parseSpooled(
  archive: ArchiveIntake,
  parse: ParseMail,
  limit: number,
): Promise<IntakeResult[]> {
  const mails = await archive.takeSpooled(limit);
  return mails.length === 0 ? [] : parseTaken(archive, parse, mails);
}

/**
 * Parses stored mails again, one after the other; a mail without its bytes is left out. Errors: `store.*`; the mails before
 * have been parsed.
 * @param onSpooled called after the commit of a mail that had not been parsed before: as after `parseSpooled`, what
 * follows from its reports is not done yet
 */
export async function reparse(
  archive: Pick<ArchiveIntake, "put" | "load">,
  parse: ParseMail,
  mailIds: readonly number[],
  onSpooled: (result: IntakeResult) => Promise<void> | void = () => {},
): Promise<IntakeResult[]> {
  const results: IntakeResult[] = [];
  for (const mailId of mailIds) {
    const mail = await archive.load(mailId);
    if (!mail) continue;
    const [answer] = await archive.put([await itemOf(mail, parse)]);
    if (answer && "error" in answer) throw errorOf(answer);
    if (!answer || !("result" in answer)) continue;
    results.push(answer.result);
    if (answer.wasSpooled) await onSpooled(answer.result);
  }
  return results;
}
