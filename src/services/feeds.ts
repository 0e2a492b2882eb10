/** Evaluations and TLS sessions that a caller sends as lines of a feed. */
import type { Config } from "../config/schema.ts";
import { BATCH, type Feeder, NAMED_ERRORS } from "../feed/batch.ts";
import type { FeedReply } from "../feed/port.ts";
import { MailreportError } from "../lib/errors.ts";
import { failureOf } from "../lib/supervised.ts";
import type { Operation, Operations } from "./operation.ts";

/** The feed that needs no configuration. */
const CONTROL_FEED = "control";

export interface FeedRequest {
  readonly name: string;
  readonly lines: readonly string[];
  /** Number of the first line. */
  readonly first: number;
}

/** What became of the lines; in a dry run what would become of them: it does not know which were counted before. */
export interface FeedResult extends FeedReply {
  /** Why the lines after those that were counted were not. */
  readonly failure: MailreportError | null;
}

export interface FeedService {
  /** Names of all feeds: those of the configuration, and `control`. */
  names(): readonly string[];
  /**
   * Counts lines in batches, each in one transaction. Errors: `feed.unknown`; `store.*`, with the numbers of the lines
   * that were counted before.
   */
  readonly lines: Operation<FeedRequest, FeedResult>;
}

export interface FeedOptions {
  readonly config: () => Config;
  readonly feeder: Feeder;
}

export function makeFeeds(operations: Operations, { config, feeder }: FeedOptions): FeedService {
  const names = (): string[] => [CONTROL_FEED, ...config().feed.map(({ name }) => name)];

  function checkName(name: string): void {
    const known = names();
    if (!known.includes(name))
      throw new MailreportError("feed.unknown", { detail: `${name} (known feeds: ${known.join(", ")})` });
  }

  async function inBatches(request: FeedRequest, dryRun: boolean): Promise<FeedResult> {
    const { name, lines, first } = request;
    checkName(name);
    let total: FeedReply = { accepted: 0, repeated: 0, rejected: 0, errors: [] };
    for (let at = 0; at === 0 || at < lines.length; at += BATCH) {
      // other work of the event loop runs between two batches
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      const batch = lines.slice(at, at + BATCH).map((text, i) => ({ number: first + at + i, text }));
      try {
        total = sumOf(total, dryRun ? feeder.check(batch) : feeder.lines(name, batch));
      } catch (error) {
        if (at === 0) throw error;
        return { ...total, failure: partlyCounted(error, first, first + at - 1) };
      }
    }
    return { ...total, failure: null };
  }

  return {
    names,
    lines: operations.declare({
      name: "feed",
      plan: (request) => inBatches(request, true),
      change: (request) => inBatches(request, false),
      audited: ({ accepted, repeated, rejected }, { name, first }) =>
        accepted + rejected === 0 ? null : { feed: name, first, accepted, repeated, rejected },
      failure: ({ failure }) => failure,
    }),
  };
}

function sumOf(total: FeedReply, reply: FeedReply): FeedReply {
  return {
    accepted: total.accepted + reply.accepted,
    repeated: total.repeated + reply.repeated,
    rejected: total.rejected + reply.rejected,
    errors: [...total.errors, ...reply.errors].slice(0, NAMED_ERRORS),
  };
}

/** The error of a batch, with the numbers of the lines that were counted before it. */
function partlyCounted(thrown: unknown, from: number, to: number): MailreportError {
  const { error, bug } = failureOf(thrown);
  if (bug) return error;
  const counted = `lines ${from} to ${to} were counted, no others`;
  const detail = error.detail === undefined ? counted : `${error.detail}; ${counted}`;
  return new MailreportError(error.code, { detail, temporary: error.temporary, cause: error });
}
