/** Batches of lines: parsed, counted in one transaction, and answered after its commit. */
import type { Config } from "../config/schema.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { FeedEvent } from "../model/evaluation.ts";
import type { DaemonEventSink } from "../model/events.ts";
import { addressMatcher } from "../model/recipients.ts";
import { type Line, LONGEST_LINE } from "./lines.ts";
import { type ParseContext, parseFeedLine } from "./parse.ts";
import type { CountEvents, FeedReply, RejectedLine } from "./port.ts";

/** Lines of one transaction. */
export const BATCH = 500;
/** Rejected lines that an answer names. */
export const NAMED_ERRORS = 100;

export interface Feeder {
  /**
   * Counts one batch, durably when it returns. Errors: MailreportError of the store; then nothing was counted.
   * @param cursor how far the source has been read with these lines; stored with what they count
   */
  lines(feed: string, lines: readonly Line[], cursor?: string): FeedReply;
  /**
   * The same for a source that makes events of something else than JSON lines; a refused event is named by its place in
   * the batch, counted from 1.
   */
  events(feed: string, events: readonly FeedEvent[], cursor?: string): FeedReply;
  /** Parses one batch and counts nothing. Events that were counted before, or will not fit, are not known. */
  check(lines: readonly Line[]): FeedReply;
}

export interface FeederOptions {
  readonly config: () => Config;
  readonly clock: Clock;
  readonly count: CountEvents;
  /** Told of each batch that was counted. */
  readonly events: DaemonEventSink;
}

/** What the lines of a feed are checked against. */
export function parseContext(config: Config, now: number): ParseContext {
  return {
    now,
    maxAge: Math.floor(config.report.max_age / 1000),
    submitter: config.report.submitter,
    takesReports: addressMatcher([config.report.from, ...config.recipient.map(({ address }) => address)]),
  };
}

/** The events of a batch with the numbers of their lines, and the lines that are none. */
interface ParsedBatch {
  readonly events: readonly FeedEvent[];
  readonly numbers: readonly number[];
  readonly errors: readonly RejectedLine[];
}

export function makeFeeder({ config, clock, count, events: told }: FeederOptions): Feeder {
  let known: { readonly config: Config; readonly context: ParseContext } | undefined;

  function context(): ParseContext {
    const current = config();
    if (known?.config !== current) known = { config: current, context: parseContext(current, 0) };
    return { ...known.context, now: epochSeconds(clock) };
  }

  function countBatch(feed: string, { events, numbers, errors }: ParsedBatch, cursor?: string): FeedReply {
    const { counted, repeated, refused } = count(feed, events, errors.length, cursor);
    const late = refused.map(({ index, reason }) => ({ line: numbers[index]!, reason }));
    const reply = replyOf(counted + repeated, repeated, [...errors, ...late]);
    const { accepted, rejected } = reply;
    told.emit("feed.batch", { feed, accepted, repeated, rejected });
    const [first] = reply.errors;
    if (first) told.emit("feed.rejected", { feed, rejected, ...first });
    return reply;
  }

  return {
    lines: (feed, lines, cursor) => countBatch(feed, parseBatch(lines, context()), cursor),
    events: (feed, events, cursor) =>
      countBatch(feed, { events, numbers: events.map((_, i) => i + 1), errors: [] }, cursor),
    check(lines) {
      const { events, errors } = parseBatch(lines, context());
      return replyOf(events.length, 0, errors);
    },
  };
}

function parseBatch(lines: readonly Line[], context: ParseContext): ParsedBatch {
  const events: FeedEvent[] = [];
  const numbers: number[] = [];
  const errors: RejectedLine[] = [];
  for (const { number, text } of lines) {
    if (text?.trim() === "") continue;
    const parsed = text === null || text.length > LONGEST_LINE ? TOO_LONG : parseFeedLine(text, context);
    if (parsed.ok) {
      events.push(parsed.event);
      numbers.push(number);
    } else errors.push({ line: number, reason: parsed.reason });
  }
  return { events, numbers, errors };
}

function replyOf(accepted: number, repeated: number, errors: readonly RejectedLine[]): FeedReply {
  const inOrder = errors.toSorted((a, b) => a.line - b.line);
  return { accepted, repeated, rejected: errors.length, errors: inOrder.slice(0, NAMED_ERRORS) };
}

const TOO_LONG = { ok: false, reason: `longer than ${LONGEST_LINE} bytes` } as const;
