/**
 * Which mails make up one transaction, and which of them are read in it. Usually all are, and are answered when that is
 * committed. In a crowd only some are: the bytes of the others are stored with them and read when the crowd is gone,
 * so that senders wait for the disk alone.
 */
import type { IntakeRequest } from "../../store/archive.ts";
import type { Frame } from "./frames.ts";
import { type IntakeHead, joinIntakes, type RequestFrame } from "./protocol.ts";

/** Mails of one transaction, and their bytes: short enough that nobody waits long for the others. */
const GROUP_MAILS = 64;
const GROUP_BYTES = 4 << 20;
/** So many mails in one transaction are never a crowd. */
const BURST_MIN_MAILS = 4;
/** Mails that are stored and not read yet, at most: then senders wait until theirs are read, a crowd or not. */
export const MAX_UNPARSED = 10_000;

export function isMail({ header }: Frame): boolean {
  return (header as RequestFrame).op === "intake";
}

export function headsOf({ header }: Frame): readonly IntakeHead[] {
  return (header as Extract<RequestFrame, { op: "intake" }>).heads;
}

/** Takes the mails that go into the next transaction from the begin of the queue, which is one: at least that one. */
export function takeGroup(queue: Frame[]): Frame[] {
  let mails = 0;
  let bytes = 0;
  const end = queue.findIndex((frame, i) => {
    if (!isMail(frame)) return true;
    mails += headsOf(frame).length;
    bytes += frame.body.byteLength;
    return i > 0 && (mails > GROUP_MAILS || bytes > GROUP_BYTES);
  });
  return queue.splice(0, end < 0 ? queue.length : end);
}

export interface Group {
  readonly requests: readonly IntakeRequest[];
  /** There are so many that they are stored first. */
  readonly overloaded: boolean;
}

/** What decides whether there is a crowd. */
export interface Pace {
  /** Mails that are stored and not read yet. */
  readonly unparsed: number;
  /** There was a crowd a moment ago: until it is gone, few are stored first, too. */
  readonly inBurst: boolean;
  /** How long a commit takes, and reading one mail; milliseconds. */
  readonly commitMs: number;
  readonly parseMs: number;
}

/**
 * A transaction's mails are a crowd when reading them would take longer than the commit that they wait for anyway: on a
 * slow disk that is many, on a fast one few.
 */
export function groupOf(frames: readonly Frame[], { unparsed, inBurst, commitMs, parseMs }: Pace): Group {
  const heads = frames.flatMap(headsOf);
  const intakes = frames.flatMap((frame) => joinIntakes(headsOf(frame), frame.body));
  const soon = heads.filter(({ when }) => when === "soon").length;
  const room = unparsed < MAX_UNPARSED;
  const overloaded = room && soon > BURST_MIN_MAILS && soon * parseMs > commitMs;
  const parseNow = { now: true, soon: !overloaded && !(inBurst && room), later: false };
  return {
    overloaded,
    requests: intakes.map((intake, i) => ({ intake, parseNow: parseNow[heads[i]!.when] })),
  };
}
