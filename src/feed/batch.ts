/** Batches of lines: parsed, counted in one transaction, and answered after its commit. */
import type { Config } from "../config/schema.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { FeedEvent } from "../model/evaluation.ts";
import { addressMatcher } from "../model/recipients.ts";
import { type Line, LineSplitter, LONGEST_LINE } from "./lines.ts";
import { type ParseContext, parseFeedLine } from "./parse.ts";
import type { CountEvents, FeedReply, RejectedLine } from "./port.ts";

/** Lines of one transaction. */
export const BATCH = 500;
const MOST_ERRORS = 100;

export interface Feeder {
  /** Counts one batch, durably when it returns. Errors: MailreportError of the store; then nothing was counted. */
  lines(feed: string, lines: readonly Line[]): FeedReply;
  /** Counts all lines of a body, batch by batch. Errors: as `lines`; batches before the failing one stay counted. */
  text(feed: string, chunks: AsyncIterable<Uint8Array>): Promise<FeedReply>;
}

export interface FeederOptions {
  readonly config: () => Config;
  readonly clock: Clock;
  readonly count: CountEvents;
}

/** What the lines of a feed are measured by. */
export function parseContext(config: Config, now: number): ParseContext {
  return {
    now,
    maxAge: Math.floor(config.report.max_age / 1000),
    submitter: config.report.submitter,
    takesReports: addressMatcher([config.report.from, ...config.recipient.map(({ address }) => address)]),
  };
}

export function makeFeeder({ config, clock, count }: FeederOptions): Feeder {
  let known: { readonly config: Config; readonly context: ParseContext } | undefined;

  function context(): ParseContext {
    const current = config();
    if (known?.config !== current) known = { config: current, context: parseContext(current, 0) };
    return { ...known.context, now: epochSeconds(clock) };
  }

  function countBatch(feed: string, lines: readonly Line[]): FeedReply {
    const rules = context();
    const events: FeedEvent[] = [];
    const numbers: number[] = [];
    const errors: RejectedLine[] = [];
    for (const { number, text } of lines) {
      if (text?.trim() === "") continue;
      const parsed = text === null || text.length > LONGEST_LINE ? TOO_LONG : parseFeedLine(text, rules);
      if (parsed.ok) {
        events.push(parsed.event);
        numbers.push(number);
      } else errors.push({ line: number, reason: parsed.reason });
    }
    const { counted, repeated, refused } = count(feed, events, errors.length);
    for (const { index, reason } of refused) errors.push({ line: numbers[index]!, reason });
    errors.sort((a, b) => a.line - b.line);
    return {
      accepted: counted + repeated,
      repeated,
      rejected: errors.length,
      errors: errors.slice(0, MOST_ERRORS),
    };
  }

  return {
    lines: countBatch,
    async text(feed, chunks) {
      const splitter = new LineSplitter();
      const total = { accepted: 0, repeated: 0, rejected: 0, errors: [] as RejectedLine[] };
      let waiting: Line[] = [];
      const take = (): void => {
        const reply = countBatch(feed, waiting.slice(0, BATCH));
        waiting = waiting.slice(BATCH);
        total.accepted += reply.accepted;
        total.repeated += reply.repeated;
        total.rejected += reply.rejected;
        total.errors.push(...reply.errors.slice(0, MOST_ERRORS - total.errors.length));
      };
      for await (const chunk of chunks) {
        waiting.push(...splitter.push(chunk));
        while (waiting.length >= BATCH) {
          take();
          await turn();
        }
      }
      waiting.push(...splitter.end());
      if (waiting.length > 0) take();
      return total;
    },
  };
}

const TOO_LONG = { ok: false, reason: `longer than ${LONGEST_LINE} bytes` } as const;

/** Lets other work of the event loop run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
