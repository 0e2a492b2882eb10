/** The counters of the daemon. */
import { MailreportError } from "../lib/errors.ts";
import type { ArchiveQuestions } from "../store/archive/reader.ts";
import type { Parts } from "./parts.ts";

/** Counters that are shown from the start, at 0. */
const ARCHIVE_COUNTERS = [
  ...["dmarc", "tls", "failure", "arf", "dsn"].map((kind) => `archive.report.${kind}`),
  ...["mail", "unread", "unparsed", "record", "message", "message.pass", "tls.session", "tls.failure"].map(
    (name) => `archive.${name}`,
  ),
  ...["pass", "fail", "none", "temperror"].map((verdict) => `archive.auth.${verdict}`),
];
const QUEUE_COUNTERS = [
  ...["open", "held", "composed", "dropped", "tally"].map((name) => `outgoing.${name}`),
  ...[
    "envelope.pending",
    "envelope.inflight",
    "envelope.held",
    "delivered",
    "failed",
    "expired",
    "removed",
  ].map((name) => `queue.${name}`),
];

const zeros = (names: readonly string[]): Record<string, number> =>
  Object.fromEntries(names.map((name) => [name, 0]));

/** The counters of the archive; of what it holds none while it cannot be asked, so that the others can still be seen. */
async function archiveStats(archive: ArchiveQuestions): Promise<Record<string, number>> {
  try {
    return { ...zeros(ARCHIVE_COUNTERS), ...(await archive.stats()), ...archive.counters() };
  } catch (error) {
    if (error instanceof MailreportError && error.temporary) return archive.counters();
    throw error;
  }
}

/** All counters, by name. Those of an archive that cannot be asked now are left out. */
export async function statsOf(parts: Parts): Promise<Record<string, number>> {
  return {
    ...(await archiveStats(parts.need("archive"))),
    ...zeros(QUEUE_COUNTERS),
    ...parts.need("queue").stats(),
    ...parts.need("ingest").stats(),
    ...parts.need("smtp").stats(),
    ...parts.need("verifier").stats(),
    ...parts.need("scheduler").stats(),
    ...parts.need("delivery").stats(),
  };
}
