/** A batch of lines: parsed, counted in one transaction, and answered after the commit. */
import type { FeedEvent } from "../model/evaluation.ts";
import { LONGEST_LINE, type ParseContext, parseFeedLine } from "./parse.ts";
import type { CountEvents, FeedReply, RejectedLine } from "./port.ts";

const MOST_ERRORS = 100;

/** Counts lines of a feed. `firstLine` is the number of the first one. Errors: MailreportError of the store. */
export function countLines(
  feed: string,
  lines: readonly string[],
  firstLine: number,
  context: ParseContext,
  count: CountEvents,
): FeedReply {
  const events: FeedEvent[] = [];
  const numbers: number[] = [];
  const errors: RejectedLine[] = [];
  for (const [i, line] of lines.entries()) {
    const number = firstLine + i;
    if (line.trim() === "") continue;
    const parsed = line.length > LONGEST_LINE ? ({ ok: false, reason: `longer than ${LONGEST_LINE} bytes` } as const) : parseFeedLine(line, context);
    if (parsed.ok) {
      events.push(parsed.event);
      numbers.push(number);
    } else errors.push({ line: number, reason: parsed.reason });
  }
  const { counted, repeated, refused } = events.length > 0 ? count(feed, events) : { counted: 0, repeated: 0, refused: [] };
  for (const { index, reason } of refused) errors.push({ line: numbers[index]!, reason });
  errors.sort((a, b) => a.line - b.line);
  return { accepted: counted + repeated, repeated, rejected: errors.length, errors: errors.slice(0, MOST_ERRORS) };
}
