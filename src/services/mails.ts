/** Received mail: importing files, parsing stored mails again, and how far parsing has come. */
import { type Clock, epochSeconds } from "../lib/clock.ts";
import type { Log } from "../lib/log/log.ts";
import { NOT_VERIFIED } from "../receive/auth/verify.ts";
import type { IngestPort } from "../receive/port.ts";
import type { ArchiveReader } from "../store/archive/reader.ts";
import { type ImportOperation, makeImport } from "./import.ts";
import type { Operations } from "./operation.ts";
import { makeReparse, type ReparseOperation } from "./reparse.ts";

/** A request waits this long until mail that was accepted before it is parsed; with `--wait` the second one. */
const CATCH_UP_MS = 1000;
const WAIT_MS = 3_600_000;

export interface MailService {
  /**
   * Waits until mail that was accepted before is parsed: a second at most, or with `all` until nothing is left (not
   * while parsing is paused). Returns the number of those mails that are not parsed yet.
   */
  parsed(all: boolean): Promise<number>;
  /** Whether accepted mail is parsed at present. */
  parsing(): "running" | "paused" | "failing";
  readonly import: ImportOperation;
  readonly reparse: ReparseOperation;
}

export interface MailOptions {
  readonly ingest: Pick<IngestPort, "acceptAndParse" | "reparse" | "allParsed" | "unparsed" | "parsing">;
  readonly archive: ArchiveReader;
  readonly clock: Clock;
  readonly log: Log;
}

export function makeMails(operations: Operations, { ingest, archive, clock, log }: MailOptions): MailService {
  return {
    parsed: async (all) => {
      await ingest.allParsed(all ? WAIT_MS : CATCH_UP_MS);
      return ingest.unparsed;
    },
    parsing: () => ingest.parsing,
    import: makeImport(operations, {
      log,
      wait: (ms) => new Promise((resolve) => clock.after(ms, resolve)),
      importOne: ({ raw, fileName, form }) =>
        ingest.acceptAndParse({
          raw,
          hints: { form, fileName, receivedAt: epochSeconds(clock) },
          source: "import",
          envelopeFrom: null,
          envelopeTo: [],
          remoteIp: null,
          remoteName: null,
          tls: null,
          auth: NOT_VERIFIED,
          kinds: [],
        }),
    }),
    reparse: makeReparse(operations, { archive, ingest }),
  };
}
