/**
 * Sources of evaluations and TLS sessions. Each delivers batches to a Feeder. A source that reads something which stays
 * (a file, a database) gives a cursor with each batch, which is committed with what the batch counts, and begins behind
 * the stored one: after a crash nothing is counted twice, and nothing is left out. A source whose clients wait for the
 * answer (a socket) needs none.
 */
import type { Config } from "../config/schema.ts";
import type { ErrorCode } from "../lib/errors.ts";
import type { Feeder } from "./batch.ts";
import type { FeedReply } from "./port.ts";

export interface FeedSource {
  readonly name: string;
  /** Errors: MailreportError; the source does not run then. */
  start(): Promise<void>;
  /** No further batch is counted when it resolves. */
  stop(): Promise<void>;
  status(): FeedStatus;
}

export interface FeedStatus {
  readonly name: string;
  /** As the configuration names it. */
  readonly type: Config["feed"][number]["type"];
  /** What it reads: the path of the socket. */
  readonly where: string;
  readonly state: "running" | "stopped";
  /** When the last batch came, epoch seconds; null: none since the start. */
  readonly lastBatchAt: number | null;
  /** Lines since the start. */
  readonly accepted: number;
  readonly repeated: number;
  readonly rejected: number;
  /** Why the last batch could not be counted; null when it was. */
  readonly error: ErrorCode | null;
}

/** What a source has delivered since the start. */
export type FeedTraffic = Pick<FeedStatus, "lastBatchAt" | "accepted" | "repeated" | "rejected" | "error">;

/**
 * A feeder that notes what passes through it.
 * @param now epoch seconds
 * @param codeOf the code of what a feeder throws
 */
export function watchedFeeder(
  feeder: Feeder,
  now: () => number,
  codeOf: (thrown: unknown) => ErrorCode,
): { readonly feeder: Feeder; readonly traffic: () => FeedTraffic } {
  let traffic: FeedTraffic = { lastBatchAt: null, accepted: 0, repeated: 0, rejected: 0, error: null };
  const counted = ({ accepted, repeated, rejected }: FeedReply): void => {
    traffic = {
      lastBatchAt: now(),
      accepted: traffic.accepted + accepted,
      repeated: traffic.repeated + repeated,
      rejected: traffic.rejected + rejected,
      error: null,
    };
  };
  const watched = (count: () => FeedReply): FeedReply => {
    try {
      const reply = count();
      counted(reply);
      return reply;
    } catch (thrown) {
      traffic = { ...traffic, lastBatchAt: now(), error: codeOf(thrown) };
      throw thrown;
    }
  };
  return {
    traffic: () => traffic,
    feeder: {
      check: (lines) => feeder.check(lines),
      lines: (...batch) => watched(() => feeder.lines(...batch)),
      events: (...batch) => watched(() => feeder.events(...batch)),
    },
  };
}
