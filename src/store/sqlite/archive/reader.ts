/** Answers questions about archive.db over a read-only connection: pages by key, no transaction is open between pages. */
import { packIp, readIp } from "../../../model/ip.ts";
import type { ArchiveFilter, ArchiveReader } from "../../archive/reader.ts";
import { guarded, openDatabase } from "../open.ts";
import { addCancelCheck, type CancelCheck, checkedBy, neverCancelled } from "./cancel.ts";
import { expirable } from "./expiry/count.ts";
import { receivedMail } from "./lists/received.ts";
import type { SourceTools } from "./lists/source.ts";
import { makeListSources } from "./lists/sources-of-lists.ts";
import { reportDetail, tlsPolicies } from "./report-detail.ts";
import { makeScan } from "./scan.ts";
import { type Ask, makeAsk, numberOf } from "./statement-cache.ts";

/** Looks up the ids of what a filter names; -1 for a name that is not in the archive. */
function makeIds({ one, all }: Ask): Pick<SourceTools, "idsOf" | "domainId"> {
  const domainId = (name: string | undefined): number | undefined =>
    name === undefined
      ? undefined
      : (one<{ id: number }>("SELECT id FROM domain WHERE name = ?", name.toLowerCase())?.id ?? -1);
  const sourceId = (ip: string | undefined): number | undefined => {
    if (ip === undefined) return undefined;
    const address = readIp(ip)?.ip;
    if (address === undefined) return -1;
    return one<{ id: number }>("SELECT id FROM source WHERE ip = ?", packIp(address))?.id ?? -1;
  };
  const orgIds = (org: string | undefined): number[] | undefined => {
    if (org === undefined) return undefined;
    const found = all<{ id: number }>(
      `SELECT id FROM org WHERE ${checkedBy("id")} AND instr(key, ?) > 0 LIMIT 1000`,
      org.toLowerCase(),
    );
    // SQLite has no plan for an empty IN () beside INDEXED BY
    return found.length > 0 ? found.map(({ id }) => id) : [-1];
  };
  return {
    domainId,
    idsOf: (filter: ArchiveFilter) => ({
      domainId: domainId(filter.domain),
      sourceId: sourceId(filter.source),
      orgIds: orgIds(filter.org),
    }),
  };
}

/**
 * Opens the archive at `path` for reading. Errors: `store.*`.
 * @param check is called again and again while a question runs; what it throws ends the question
 */
export function openArchiveReader(path: string, check: CancelCheck = neverCancelled): ArchiveReader {
  const database = openDatabase(path, { readonly: true, cacheKiB: 32_768 });
  addCancelCheck(database, check);
  const ask = makeAsk(database, check);
  const { all, one } = ask;
  const lists = makeListSources({ database, ask, scan: makeScan(database, check), ...makeIds(ask) });

  return {
    list: async (name, filter, page) => lists[name](filter, page),
    receivedMail: async (id) => receivedMail(ask, id),
    async rawMail(id) {
      return one<{ body: Buffer }>("SELECT body FROM raw WHERE mail_id = ?", numberOf(id, "m") ?? -1)?.body;
    },
    report: async (id) => reportDetail(ask, id),
    tlsPolicies: async (reportId) => tlsPolicies(ask, reportId),
    async stats() {
      const counters = Object.fromEntries(
        all<{ name: string; value: number }>("SELECT name, value FROM counter").map(({ name, value }) => [
          name,
          value,
        ]),
      );
      // the counter has its older name in the database
      return { ...counters, "archive.unparsed": counters["archive.unread"] ?? 0 };
    },
    async expirable(now, policy) {
      return guarded(() => expirable(database, now, policy), "archive");
    },
    async size() {
      const pragma = (name: string): number => Number(database.pragma(name, { simple: true }));
      const raw = one<{ mails: number; bytes: number }>(
        `SELECT count(*) AS mails, coalesce(sum(length(body)), 0) AS bytes FROM raw WHERE ${checkedBy("mail_id")}`,
      )!;
      return {
        page_size: pragma("page_size"),
        pages: pragma("page_count"),
        free_pages: pragma("freelist_count"),
        raw_mails: raw.mails,
        raw_bytes: raw.bytes,
      };
    },
    async close() {
      database.close();
    },
  };
}
