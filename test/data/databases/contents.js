/** What the databases of a version hold, as the stores tell it. Plain JavaScript: it runs on the stores of any version. */

const ALL = { limit: 1000 };
const STATES = ["pending", "inflight", "held", "delivered", "failed", "expired", "removed"];

/** @param {import("../../../src/store/archive/reader.ts").ArchiveReader} archive */
export async function archiveContents(archive) {
  const { items: reports } = await archive.list("reports", {}, ALL);
  const { items: mails } = await archive.list("received", {}, ALL);
  const { items: records } = await archive.list("records", {}, { limit: 10_000 });
  return {
    counters: await archive.stats(),
    mails,
    reports,
    details: await Promise.all(reports.map(({ id }) => archive.report(id))),
    tls: (await archive.list("tls", {}, ALL)).items,
    records: records.length,
    days: (await archive.list("days", {}, ALL)).items,
    domains: (await archive.list("domains", {}, ALL)).items,
    sources: (await archive.list("sources", { all: true }, { limit: 10_000 })).items.length,
    reporters: (await archive.list("reporters", {}, ALL)).items,
  };
}

/** @param {import("../../../src/store/queue.ts").QueueStore} queue */
export function queueContents(queue) {
  const outgoing = queue.listOutgoing({}, ALL).items;
  const envelopes = queue.listEnvelopes({ states: STATES }, ALL).items;
  return {
    counters: queue.stats(),
    outgoing,
    tallies: outgoing.map(({ id }) => [id, queue.tallies(id)]),
    messages: envelopes.map(({ messageId }) => queue.message(messageId)),
    envelopes,
    attempts: envelopes.map(({ id }) => queue.attempts(id)),
    pauses: queue.pauses(),
    suppressions: queue.suppressions(),
  };
}
