/**
 * Decides which mails share a transaction, and which of them are parsed in it. Usually all are, and they are answered after
 * the commit. In a burst only some are: the bytes of the others are stored with them and parsed after the burst, so that
 * senders wait for the disk alone.
 */
import type { Intake } from "../../store/archive/intake.ts";
import type { Frame } from "./frames.ts";
import { type IntakeHead, joinIntakes, type RequestFrame } from "./protocol.ts";

/** Limits of one transaction, so that no mail waits long for the others. */
const GROUP_MAILS = 64;
const GROUP_BYTES = 4 << 20;
/** A transaction with this number of mails or less is never a burst. */
const BURST_MIN_MAILS = 4;
/** Maximum number of mails that are stored and not parsed yet: above it each mail is parsed before it is answered. */
export const MAX_UNPARSED = 10_000;

export function isMail({ header }: Frame): boolean {
  return (header as RequestFrame).op === "intake";
}

export function headsOf({ header }: Frame): readonly IntakeHead[] {
  return (header as Extract<RequestFrame, { op: "intake" }>).heads;
}

/** Takes the mails of the next transaction from the begin of the queue: one at least, for the first request is a mail. */
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
  readonly requests: readonly GroupMail[];
  /** More mails came together than are parsed before they are answered. */
  readonly overloaded: boolean;
}

export interface GroupMail {
  readonly intake: Intake;
  /** False: its bytes are stored, and parsed later. */
  readonly parseNow: boolean;
}

/** What decides whether mails are a burst. */
export interface Pace {
  /** Mails that are stored and not parsed yet. */
  readonly unparsed: number;
  /** There was a burst a moment ago: until it ends, single mails are stored first as well. */
  readonly inBurst: boolean;
}

/** Mails that come together are a burst when there are more of them than senders should wait for. */
export function groupOf(frames: readonly Frame[], { unparsed, inBurst }: Pace): Group {
  const heads = frames.flatMap(headsOf);
  const intakes = frames.flatMap((frame) => joinIntakes(headsOf(frame), frame.body));
  const soon = heads.filter(({ when }) => when === "soon").length;
  const room = unparsed < MAX_UNPARSED;
  const overloaded = room && soon > BURST_MIN_MAILS;
  const parseNow = { now: true, soon: !overloaded && !(inBurst && room), later: false };
  return {
    overloaded,
    requests: intakes.map((intake, i) => ({ intake, parseNow: parseNow[heads[i]!.when] })),
  };
}
